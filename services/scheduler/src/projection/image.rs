//! The row of an image: there is one for each image that was ever built, so it is short.

use serde::{Deserialize, Serialize};
use waybill_domain::fold::ImageFact;
use waybill_schemas::{SecretName, v1::SaveSkipReason};

use super::{ProjectionError, checksum, tables::IMAGES};

/// An image as an array: sequence of its build, reference, registry, secret, and why there is none.
#[derive(Serialize, Deserialize)]
struct Short(u64, Option<String>, Registry, Option<SecretName>, Option<SaveSkipReason>);

/// A registry host: `true` where the reference begins with it, as most do.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Registry {
    Leading(bool),
    Other(Option<String>),
}

pub(super) fn encode(key: &str, fact: ImageFact) -> Result<Vec<u8>, ProjectionError> {
    let leading = fact.image_ref.as_deref().and_then(leading_host);
    let registry = match fact.registry {
        Some(registry) if Some(registry.as_str()) == leading => Registry::Leading(true),
        other => Registry::Other(other),
    };
    let short = Short(fact.sequence, fact.image_ref, registry, fact.secret_name, fact.skipped);
    checksum::encode(IMAGES, key, &short)
}

pub(super) fn decode(key: &str, value: &[u8]) -> Result<ImageFact, ProjectionError> {
    let Short(sequence, image_ref, registry, secret_name, skipped) = checksum::decode(IMAGES, key, value)?;
    let registry = match registry {
        Registry::Leading(_) => image_ref.as_deref().and_then(leading_host).map(str::to_owned),
        Registry::Other(other) => other,
    };
    Ok(ImageFact { sequence, image_ref, registry, secret_name, skipped })
}

fn leading_host(image_ref: &str) -> Option<&str> {
    image_ref.split_once('/').map(|(host, _)| host)
}

/// The image with the names of its fields.
pub(super) fn to_json(key: &str, value: &[u8]) -> Result<Vec<u8>, ProjectionError> {
    serde_json::to_vec(&decode(key, value)?).map_err(|source| ProjectionError::Row { table: IMAGES, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_as_it_was_written() {
        let key = "acme/img-19999";
        let texts = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        for (image_ref, registry, most) in [
            ("registry.example.com/team/app:1", "registry.example.com", 100),
            ("library/app:1", "docker.io", 100),
            ("app", "docker.io", 90),
            ("app", "", 90),
            ("", "registry.example.com", 100),
            ("", "", 70),
        ] {
            for secret in [None, Some("registry-login".parse().unwrap())] {
                for skipped in [None, Some(SaveSkipReason::PublicRegistry)] {
                    let fact = ImageFact {
                        sequence: 1_234_567,
                        image_ref: texts(image_ref),
                        registry: texts(registry),
                        secret_name: secret.clone(),
                        skipped,
                    };
                    let value = encode(key, fact.clone()).unwrap();
                    assert_eq!(decode(key, &value).unwrap(), fact);
                    assert_eq!(serde_json::from_slice::<ImageFact>(&to_json(key, &value).unwrap()).unwrap(), fact);
                    if skipped.is_none() {
                        assert!(key.len() + value.len() < most, "{image_ref}: {} bytes", key.len() + value.len());
                    }
                }
            }
        }
    }
}
