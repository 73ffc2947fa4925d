//! A change of a secret, as the gateway is asked for it.

use std::{path::Path, time::Duration};

use reqwest::{Url, redirect::Policy};
use serde_json::{Value, json};
use waybill_platform::config::{Settings, read_private};
use waybill_schemas::{ImageId, WorkspaceId};

use crate::{Failure, output, text};

/// How long the gateway may take. It answers when the log has the event.
const LIMIT: Duration = Duration::from_secs(30);

/// New credentials for an image. A JSON object goes as it is; any other text goes as text, without the line's end.
pub(super) fn rotation(workspace: &WorkspaceId, image: &ImageId, credentials: &str) -> Value {
    let keys = serde_json::from_str::<Value>(credentials).ok().filter(is_keys);
    let credentials = keys.unwrap_or_else(|| json!(credentials.trim_end_matches(['\r', '\n'])));
    json!({ "workspace": workspace, "image_id": image, "credentials": credentials })
}

/// An object of environment-style keys; the structured form holds another object, and goes as text.
fn is_keys(value: &Value) -> bool {
    value.as_object().is_some_and(|keys| keys.values().all(|value| value.is_string() || value.is_null()))
}

/// None for an image any more.
pub(super) fn revocation(workspace: &WorkspaceId, image: &ImageId, reason: Option<&str>) -> Value {
    json!({ "workspace": workspace, "image_id": image, "reason": reason })
}

/// Asks the gateway, and prints its answer. False where it refused.
pub(super) fn send(
    home: &Path,
    settings: &Settings,
    (workspace, change): (&WorkspaceId, &str),
    body: &Value,
    as_json: bool,
) -> Result<bool, Failure> {
    let mut reader = settings.reader();
    let base: Option<Url> = reader.needed("WAYBILL_GATEWAY_URL", |text| {
        text.parse().map_err(|_| "the gateway's address, such as http://127.0.0.1:8484")
    });
    let file = reader.path("WAYBILL_GATEWAY_TOKEN_FILE");
    reader.finish()?;
    let Some(base) = base else { return Err("WAYBILL_GATEWAY_URL is missing".into()) };
    let token = read_private(&file.unwrap_or_else(|| home.join(format!("tokens/{workspace}.token"))))?;
    let address = base.join(&format!("v1/secrets/{change}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (good, answer) = runtime.block_on(async {
        let client = reqwest::Client::builder().redirect(Policy::none()).timeout(LIMIT).build()?;
        let asked = client.post(address).bearer_auth(token.expose()).json(body);
        let answer = asked.send().await.map_err(reqwest::Error::without_url)?;
        let good = answer.status().is_success();
        Ok::<_, Failure>((good, answer.json::<Value>().await.map_err(reqwest::Error::without_url)?))
    })?;
    let mut out = output::stdout();
    if as_json {
        use std::io::Write as _;
        writeln!(out, "{answer}")?;
    } else {
        let fields = text::flatten(&answer);
        text::fields(&mut out, 0, &fields)?;
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_in_the_form_that_the_file_has() {
        let cases = [
            ("u:p\n", json!("u:p")),
            (
                r#"{"USERNAME":"u","PASSWORD":"p","TOKEN":null}"#,
                json!({"USERNAME": "u", "PASSWORD": "p", "TOKEN": null}),
            ),
            (r#"{"registry":"a.b","credentials":{}}"#, json!(r#"{"registry":"a.b","credentials":{}}"#)),
            ("[1]", json!("[1]")),
            (" spaced:pass word ", json!(" spaced:pass word ")),
        ];
        let (workspace, image) = ("ws".parse().unwrap(), "i".parse().unwrap());
        for (text, expected) in cases {
            assert_eq!(rotation(&workspace, &image, text)["credentials"], expected, "{text}");
        }
    }
}
