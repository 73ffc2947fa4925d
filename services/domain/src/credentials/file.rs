//! Text files as people's tools write them.

use zeroize::Zeroizing;

use super::Secret;

/// The text of a file: UTF-8 with or without a byte order mark, or UTF-16, which PowerShell's `>` writes. None where it is
/// neither.
pub fn read_text(bytes: &[u8]) -> Option<Secret> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(unit));
        let even = bytes.len().is_multiple_of(2);
        // Large enough from the start, so that no copy is left behind by growing it.
        let mut text = Zeroizing::new(String::with_capacity(bytes.len().saturating_mul(2)));
        for character in char::decode_utf16(units) {
            text.push(character.ok()?);
        }
        even.then(|| Secret::from(text.as_str()))
    };
    match bytes {
        [0xef, 0xbb, 0xbf, text @ ..] => core::str::from_utf8(text).ok().map(Secret::from),
        [0xff, 0xfe, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf16(text, u16::from_be_bytes),
        // No text that is meant here begins with a letter and a zero byte.
        [1..=255, 0, ..] => utf16(bytes, u16::from_le_bytes),
        [0, 1..=255, ..] => utf16(bytes, u16::from_be_bytes),
        text => core::str::from_utf8(text).ok().map(Secret::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_in_every_encoding() {
        let wide = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let text = "{\"ü\": \"🐳\"}";
        let marked = format!("\u{feff}{text}");
        let same = [
            text.as_bytes().to_vec(),
            marked.as_bytes().to_vec(),
            wide(&marked, u16::to_le_bytes),
            wide(&marked, u16::to_be_bytes),
            wide(text, u16::to_le_bytes),
            wide(text, u16::to_be_bytes),
        ];
        for bytes in same {
            assert_eq!(read_text(&bytes).as_ref().map(Secret::expose), Some(text), "{bytes:?}");
        }
        assert_eq!(read_text(b"").as_ref().map(Secret::expose), Some(""));
        for bytes in [&b"\xff"[..], b"u:\xfcp", b"\xff\xfe{", b"\xff\xfe\x00\xd8", b"{\0}"] {
            assert!(read_text(bytes).is_none(), "{bytes:?}");
        }
    }
}
