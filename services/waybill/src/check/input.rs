//! Credentials from a file: in any form that the gateway takes, or in Docker's configuration on this machine.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use waybill_domain::{
    credentials::{CredentialInput, DockerConfig, Secret, read_text},
    reference::ImageReference,
};
use waybill_registry::helper;

use crate::Failure;

/// Largest file of credentials that is read, in bytes; the gateway takes no more.
const MOST: u64 = 256 * 1024;

/// `--creds`: an object of keys or a Docker configuration; any other text without the line's end.
pub(super) fn credentials(file: &Path) -> Result<CredentialInput, Failure> {
    let text = match file.as_os_str() == "-" {
        true => read("--creds", file, io::stdin()),
        false => open("--creds", file),
    }?;
    Ok(of_text(&text))
}

fn of_text(text: &Secret) -> CredentialInput {
    let object = Some(text.expose()).filter(|text| text.trim_start().starts_with('{'));
    let object = object.and_then(|text| serde_json::from_str::<CredentialInput>(text).ok());
    object.unwrap_or_else(|| CredentialInput::Text(Secret::from(text.expose().trim_end_matches(['\r', '\n']))))
}

/// `--docker-config`: what the file has for the image, or what the program says that the file names for it.
pub(super) fn docker_config(file: &Path, image: &ImageReference) -> Result<CredentialInput, Failure> {
    let text = open("--docker-config", file)?;
    let config = DockerConfig::read(text.expose()).map_err(|error| format!("--docker-config: {error}"))?;
    Ok(helper::credentials(config, image)?)
}

fn open(flag: &str, file: &Path) -> Result<Secret, Failure> {
    let opened = File::open(file).map_err(|error| unreadable(flag, file, &error))?;
    read(flag, file, opened)
}

/// Into one buffer that never moves, so that no copy is left behind by growing it.
fn read(flag: &str, file: &Path, from: impl Read) -> Result<Secret, Failure> {
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(usize::try_from(MOST)?.saturating_add(1)));
    from.take(MOST.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| unreadable(flag, file, &error))?;
    if u64::try_from(bytes.len())? > MOST {
        return Err(format!("{flag} {}: more than {MOST} bytes are no credentials", file.display()).into());
    }
    read_text(&bytes).ok_or_else(|| format!("{flag} {}: it is not text in UTF-8 or UTF-16", file.display()).into())
}

fn unreadable(flag: &str, file: &Path, error: &io::Error) -> Failure {
    format!("{flag} {} cannot be read: {}", file.display(), error.kind()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_what_the_gateway_takes() {
        let cases = [
            ("u:p\n", "Text"),
            (r#"{"USERNAME":"u","PASSWORD":"p","TOKEN":null}"#, "Keys"),
            (" \n{\"USERNAME\":\"u\"}\n", "Keys"),
            (r#"{"registry":"a.b","credentials":{}}"#, "Text"),
            (r#"{"auths":{}}"#, "Docker"),
            (r#"{"credsStore":"x","auths":{}}"#, "Docker"),
            ("[1]", "Text"),
            ("{u:p", "Text"),
        ];
        for (text, expected) in cases {
            let input = of_text(&text.into());
            assert!(format!("{input:?}").starts_with(expected), "{text}: {input:?}");
        }
        assert_eq!(of_text(&"u: p \r\n".into()), CredentialInput::Text("u: p ".into()));
    }

    #[test]
    fn files_are_bounded() {
        let most = usize::try_from(MOST).unwrap();
        let text = |length: usize| read("--creds", Path::new("f"), "x".repeat(length).as_bytes());
        assert_eq!(text(most).unwrap().len(), most);
        assert!(text(most + 1).unwrap_err().to_string().contains("--creds f"));
        let not_text: &[u8] = &[0xff, b'x'];
        assert!(read("--creds", Path::new("f"), not_text).is_err());
    }
}
