//! What becomes known of a request while it is handled: who asks, and what it is about. Kept beside the request until its answer
//! is there, since a handler that fails has nothing to return it with.

use std::cell::RefCell;

use serde::{Deserialize, Deserializer};
use waybill_schemas::{ContainerId, ImageId, SecretName, WorkspaceId};

use crate::tokens::Holder;

/// The ids that a request names, where they are valid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    #[serde(deserialize_with = "valid")]
    pub(crate) workspace: Option<WorkspaceId>,
    #[serde(deserialize_with = "valid")]
    pub(crate) container_id: Option<ContainerId>,
    #[serde(deserialize_with = "valid")]
    pub(crate) image_id: Option<ImageId>,
    #[serde(skip)]
    pub(crate) secret_name: Option<SecretName>,
}

/// An id, or none where the member holds anything else: the request is refused for that by others.
fn valid<'de, D: Deserializer<'de>, T: TryFrom<String>>(input: D) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(input)?;
    Ok(value.as_str().and_then(|text| T::try_from(text.to_owned()).ok()))
}

impl Named {
    /// What a body of JSON names. One that cannot be read to its end, or names something twice, names nothing.
    fn from_body(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// What the path of a secret names: `…/secrets/{workspace}/{name}…`.
    pub(crate) fn from_path(path: &str) -> Self {
        let mut segments = path.split('/').skip_while(|segment| *segment != "secrets").skip(1);
        let workspace = segments.next().and_then(|text| text.parse().ok());
        let secret_name = segments.next().and_then(|text| text.parse().ok());
        Self { workspace, secret_name, ..Self::default() }
    }
}

/// What is known of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witnessed {
    pub(crate) holder: Option<Holder>,
    pub(crate) named: Named,
}

tokio::task_local! {
    static WITNESSED: RefCell<Witnessed>;
}

/// Runs a request, and returns what became known of it. `named` is what its path names.
pub(crate) async fn watch<T>(named: Named, handling: impl Future<Output = T>) -> (T, Witnessed) {
    let known = RefCell::new(Witnessed { holder: None, named });
    let watched = async { (handling.await, WITNESSED.with(RefCell::take)) };
    WITNESSED.scope(known, watched).await
}

/// Notes who holds the request's token.
pub(crate) fn note_holder(holder: &Holder) {
    note(|known| known.holder = Some(holder.clone()));
}

/// Notes what a body names.
pub(crate) fn note_body(bytes: &[u8]) {
    note(|known| {
        let secret_name = known.named.secret_name.take();
        let workspace = known.named.workspace.take();
        let named = Named::from_body(bytes);
        // A path goes before a body: the operation is on what the path names.
        known.named = Named { workspace: workspace.or(named.workspace.clone()), secret_name, ..named };
    });
}

/// Requests that nobody watches are of no interest.
fn note(change: impl FnOnce(&mut Witnessed)) {
    let _ = WITNESSED.try_with(|known| {
        if let Ok(mut known) = known.try_borrow_mut() {
            change(&mut known);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_ids_are_named() {
        let cases = [
            (r#"{"workspace":"acme","image_id":"i-1","existing_image_uri":"A B"}"#, "acme - i-1"),
            (r#"{"workspace":"acme","container_id":"c-1","imageid":"x"}"#, "acme c-1 -"),
            (r#"{"workspace":"a.b","container_id":7,"image_id":null}"#, "- - -"),
            (r#"{"image_id":"i-1","image_id":"i-2"}"#, "- - -"),
            (r#"{"image_id":"i-1""#, "- - -"),
            ("", "- - -"),
            ("[1]", "- - -"),
        ];
        for (body, expected) in cases {
            let Named { workspace, container_id, image_id, .. } = Named::from_body(body.as_bytes());
            let texts = [
                workspace.map(|id| id.to_string()),
                container_id.map(|id| id.to_string()),
                image_id.map(|id| id.to_string()),
            ];
            assert_eq!(texts.map(|text| text.unwrap_or("-".to_owned())).join(" "), expected, "{body}");
        }
        let named = Named::from_path("/v1/secrets/acme/team.pull/rotate");
        assert_eq!((named.workspace.unwrap().as_str(), named.secret_name.unwrap().as_str()), ("acme", "team.pull"));
        assert_eq!(Named::from_path("/v1/secrets/a%20b/c%2Fd"), Named::default());
        assert_eq!(Named::from_path("/v1/builds"), Named::default());
    }

    #[tokio::test]
    async fn what_is_noted_comes_back_with_the_answer() {
        note_body(b"{}");
        let (answer, known) = watch(Named::from_path("/v1/secrets/acme/s"), async {
            note_body(br#"{"workspace":"other","image_id":"i"}"#);
            7
        })
        .await;
        assert_eq!((answer, known.holder), (7, None));
        let Named { workspace, image_id, secret_name, .. } = known.named;
        assert_eq!((workspace.unwrap().as_str(), secret_name.unwrap().as_str()), ("acme", "s"));
        assert_eq!(image_id.unwrap().as_str(), "i");
    }
}
