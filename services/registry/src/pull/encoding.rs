//! Content that comes encoded although nobody asked for it (RFC 9110, section 8.4): which bytes a digest is of.
//!
//! A digest is of the content before any proxy touched it, so what a header says was encoded is decoded, as containerd and
//! Go's own client do. One label lies by custom: storage that holds a `tar.gz` may call it `gzip`, and sends it as it is.

use std::{borrow::Cow, io, io::Write, mem};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Compressed bytes that are decoded at once: one of them becomes a thousand at most.
pub(super) const PIECE: usize = 4096;

/// An encoding that nobody asked for and that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sent its content encoded as {0}, which nobody asked for and which cannot be read")]
pub(super) struct Unreadable(pub(super) String);

/// How the bytes that were sent become the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    AsSent,
    Gzip,
    Zlib,
    /// `deflate` without the frame that the RFC wants. Some servers send it so.
    Deflate,
}

impl Coding {
    /// Decides by what the header says, how many bytes are sent, how many the content has, and the first of them.
    pub(super) fn choose(said: &str, length: Option<u64>, size: Option<u64>, first: &[u8]) -> Result<Self, Unreadable> {
        let said = said.to_ascii_lowercase();
        let mut codings = said.split([',', ' ', '\t']).filter(|coding| !matches!(*coding, "" | "identity"));
        let (coding, further) = (codings.next(), codings.next());
        // Two lengths that agree: the label is about the content itself.
        if length.is_some() && length == size {
            return Ok(Self::AsSent);
        }
        let has_gzip_start = first.starts_with(&[0x1f, 0x8b]);
        match (coding, first) {
            (None, _) => Ok(Self::AsSent),
            (Some("gzip" | "x-gzip"), _) if further.is_none() => {
                Ok(if has_gzip_start { Self::Gzip } else { Self::AsSent })
            }
            // RFC 1950, section 2.2: the method is 8, and the two bytes are a multiple of 31.
            (Some("deflate"), [method, check, ..]) if further.is_none() => {
                let is_framed = method & 0xf == 8 && u16::from_be_bytes([*method, *check]).is_multiple_of(31);
                Ok(if is_framed { Self::Zlib } else { Self::Deflate })
            }
            (Some(_), _) => Err(Unreadable(crate::words::read_code(&said).unwrap_or("several encodings").to_owned())),
        }
    }
}

/// Decodes content piece by piece.
pub(super) enum Decoder {
    AsSent,
    Gzip(MultiGzDecoder<Vec<u8>>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Deflate(DeflateDecoder<Vec<u8>>),
}

impl Decoder {
    pub(super) fn new(coding: Coding) -> Self {
        match coding {
            Coding::AsSent => Self::AsSent,
            Coding::Gzip => Self::Gzip(MultiGzDecoder::new(Vec::new())),
            Coding::Zlib => Self::Zlib(ZlibDecoder::new(Vec::new())),
            Coding::Deflate => Self::Deflate(DeflateDecoder::new(Vec::new())),
        }
    }

    /// The content that is known with these bytes.
    pub(super) fn decode<'b>(&mut self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Unreadable> {
        let (decoded, name) = match self {
            Self::AsSent => return Ok(bytes.into()),
            Self::Gzip(decoder) => (feed(decoder, bytes, MultiGzDecoder::get_mut), "gzip"),
            Self::Zlib(decoder) => (feed(decoder, bytes, ZlibDecoder::get_mut), "deflate"),
            Self::Deflate(decoder) => (feed(decoder, bytes, DeflateDecoder::get_mut), "deflate"),
        };
        decoded.map(Cow::Owned).map_err(|_| Unreadable(name.to_owned()))
    }
}

fn feed<D: Write>(decoder: &mut D, bytes: &[u8], out: fn(&mut D) -> &mut Vec<u8>) -> io::Result<Vec<u8>> {
    decoder.write_all(bytes)?;
    decoder.flush()?;
    Ok(mem::take(out(decoder)))
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write};

    use super::*;

    const GZIP: &[u8] = &[0x1f, 0x8b, 8];
    const ZLIB: &[u8] = &[0x78, 0x9c, 1];

    #[test]
    fn codings_as_servers_say_them() {
        let unreadable = |name: &str| Err(Unreadable(name.to_owned()));
        let cases = [
            ("", None, Some(9), GZIP, Ok(Coding::AsSent)),
            ("identity", None, Some(9), GZIP, Ok(Coding::AsSent)),
            ("gzip", None, Some(9), GZIP, Ok(Coding::Gzip)),
            ("GZIP", Some(7), Some(9), GZIP, Ok(Coding::Gzip)),
            (" x-gzip , identity", Some(7), None, GZIP, Ok(Coding::Gzip)),
            // A layer that is a tar.gz, and storage that says so.
            ("gzip", Some(9), Some(9), GZIP, Ok(Coding::AsSent)),
            // A proxy that undid the encoding, and left the header.
            ("gzip", None, Some(9), b"{\"a\":1}", Ok(Coding::AsSent)),
            ("gzip", None, Some(9), b"", Ok(Coding::AsSent)),
            ("deflate", Some(7), Some(9), ZLIB, Ok(Coding::Zlib)),
            ("deflate", None, None, &[0x4b, 0x4c, 4], Ok(Coding::Deflate)),
            ("deflate", None, None, b"", unreadable("deflate")),
            ("br", None, Some(9), b"x", unreadable("br")),
            ("br", Some(9), Some(9), b"x", Ok(Coding::AsSent)),
            ("zstd", Some(7), Some(9), &[0x28, 0xb5], unreadable("zstd")),
            ("gzip, gzip", None, Some(9), GZIP, unreadable("several encodings")),
            ("a secret!", None, None, b"x", unreadable("several encodings")),
        ];
        for (said, length, size, first, expected) in cases {
            assert_eq!(Coding::choose(said, length, size, first), expected, "{said:?} {length:?} {size:?}");
        }
    }

    #[test]
    fn pieces_of_any_length_make_the_content() {
        let content: Vec<u8> = (0..20_000_u32).flat_map(u32::to_be_bytes).collect();
        let gzip = {
            let mut encoder = write::GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&content).unwrap();
            encoder.finish().unwrap()
        };
        let zlib = {
            let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&content).unwrap();
            encoder.finish().unwrap()
        };
        let bare = zlib[2..zlib.len() - 4].to_vec();
        let cases =
            [(Coding::AsSent, &content), (Coding::Gzip, &gzip), (Coding::Zlib, &zlib), (Coding::Deflate, &bare)];
        for (coding, sent) in cases {
            for length in [1, 7, PIECE] {
                let mut decoder = Decoder::new(coding);
                let pieces = sent.chunks(length).flat_map(|piece| decoder.decode(piece).unwrap().into_owned());
                assert!(pieces.eq(content.iter().copied()), "{coding:?} in pieces of {length}");
            }
        }
        let mut decoder = Decoder::new(Coding::Gzip);
        assert_eq!(decoder.decode(b"\x1f\x8bno such thing"), Err(Unreadable("gzip".to_owned())));
    }
}
