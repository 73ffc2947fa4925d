//! The gateway's answer, for people and programs.

use std::io::Write;

use serde_json::Value;
use waybill_schemas::WorkspaceId;

use crate::{Failure, gateway::Answer, output, text};

/// The answer as it came.
pub(super) fn json(answer: &Answer) -> Result<(), Failure> {
    Ok(writeln!(output::stdout(), "{}", answer.body)?)
}

/// One secret below the other, or the fields of the one answer.
pub(super) fn text(answer: &Answer, workspace: &WorkspaceId) -> Result<(), Failure> {
    print(&mut output::stdout(), answer, workspace, output::coloured())
}

fn print(out: &mut impl Write, answer: &Answer, workspace: &WorkspaceId, coloured: bool) -> Result<(), Failure> {
    let Some(secrets) = listed(&answer.body) else { return text::fields(out, 0, &text::flatten(&answer.body)) };
    if secrets.is_empty() {
        writeln!(out, "workspace {workspace} has no secrets")?;
    }
    for secret in secrets {
        let (name, others): (Vec<_>, Vec<_>) =
            text::flatten(secret).into_iter().partition(|(field, _)| field == "secret_name");
        let name = name.into_iter().next().map(|(_, name)| name).unwrap_or_default();
        text::title(out, coloured, &name)?;
        let others: Vec<_> = others.into_iter().filter(|(field, _)| field != "workspace").collect();
        text::fields(out, 2, &others)?;
    }
    Ok(())
}

/// The secrets of a list; none for an answer about one thing.
fn listed(body: &Value) -> Option<&Vec<Value>> {
    body.get("secrets").unwrap_or(body).as_array()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(body: Value) -> String {
        let mut out = Vec::new();
        print(&mut out, &Answer { is_good: true, body }, &"acme".parse().unwrap(), false).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_has_a_heading_for_each_secret() {
        let secret = |name| json!({ "workspace": "acme", "secret_name": name, "state": "active", "version": 3 });
        let text = printed(json!({ "secrets": [secret("a"), secret("b\u{1b}[2J")] }));
        assert_eq!(text, "a\n  state    active\n  version  3\nb\\u{1b}[2J\n  state    active\n  version  3\n");
        assert_eq!(printed(json!({ "secrets": [] })), "workspace acme has no secrets\n");
    }

    #[test]
    fn any_other_answer_is_its_fields() {
        let text = printed(json!({ "title": "version_conflict", "status": 409, "detail": null }));
        assert_eq!(text, "status  409\ntitle   version_conflict\n");
    }
}
