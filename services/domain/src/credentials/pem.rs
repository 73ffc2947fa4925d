//! PEM keys as they come through environments: with escaped line breaks, or with none.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::Secret;

/// Kinds of RSA keys (RFC 5958 and RFC 8017, in the armour of RFC 7468).
const RSA_LABELS: [&str; 2] = ["PRIVATE KEY", "RSA PRIVATE KEY"];
/// Characters of Base64 in a line.
const LINE: usize = 64;

/// The same RSA key in the one form that every reader of PEM takes; none where the text is no such key.
///
/// Line breaks may have been written as `\n` or `\r\n` in so many letters, or may be blanks, or may be missing.
pub(super) fn normalize_rsa_key(text: &Secret) -> Option<Secret> {
    let plain = Zeroizing::new(text.expose().replace("\\r", " ").replace("\\n", " "));
    // Words may stand around the armour (RFC 7468, section 2).
    let (_, rest) = plain.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: Zeroizing<String> = Zeroizing::new(body.chars().filter(|c| !c.is_whitespace()).collect());
    // An RSA key is a SEQUENCE of some length.
    let is_sequence = decode_base64(&body).is_some_and(|der| der.starts_with(&[0x30]) && der.len() > 2);
    if !RSA_LABELS.contains(&label) || !is_sequence {
        return None;
    }
    let mut out = String::with_capacity(body.len().saturating_mul(2).saturating_add(128));
    out.extend(["-----BEGIN ", label, "-----\n"]);
    for (at, character) in body.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.extend(["\n-----END ", label, "-----\n"]);
    Some(Secret::new(out))
}

/// Bytes of Base64 in either alphabet (RFC 4648, sections 4 and 5), padded or not, in one line or in many.
pub(super) fn decode_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard = |c: char| match c {
        '-' => '+',
        '_' => '/',
        c => c,
    };
    let letters = text.chars().filter(|c| !c.is_ascii_whitespace()).map(standard);
    let text: Zeroizing<String> = Zeroizing::new(letters.collect());
    GeneralPurpose::new(&STANDARD, config).decode(text.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_in_every_shape_is_one_text() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC3arTup/gZGZFZ7QsMCCZXE5Tw";
        let (first, second) = body.split_at(64);
        let expected = format!("-----BEGIN PRIVATE KEY-----\n{first}\n{second}\n-----END PRIVATE KEY-----\n");
        let shapes = [
            expected.clone(),
            expected.replace('\n', "\r\n"),
            expected.replace('\n', "\\n"),
            expected.replace('\n', "\\r\\n"),
            expected.replace('\n', " "),
            expected.replace('\n', ""),
            expected.replace('\n', "\n    "),
            format!("\n  {}\n\n", expected.trim()),
            format!("Made for tests.\n\n{expected}More words."),
        ];
        for shape in shapes {
            let found = normalize_rsa_key(&Secret::from(shape.as_str()));
            assert_eq!(found.as_ref().map(Secret::expose), Some(expected.as_str()), "{shape:?}");
        }
        let others = [
            String::new(),
            body.to_owned(),
            expected.replace("PRIVATE KEY", "EC PRIVATE KEY"),
            expected.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            expected.replace("PRIVATE KEY", "CERTIFICATE"),
            expected.replacen("PRIVATE KEY", "RSA PRIVATE KEY", 1),
            expected.replace("MII", "AII"),
            expected.replace("MII", "M!I"),
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----".to_owned(),
        ];
        for other in others {
            assert!(normalize_rsa_key(&Secret::from(other.as_str())).is_none(), "{other:?}");
        }
    }
}
