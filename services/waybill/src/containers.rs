//! `waybill containers`: what runs where, and how it stands, by the gateway's HTTP.

use std::{io::Write, path::Path, process::ExitCode};

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use waybill_schemas::{ImageId, SecretName, WorkerId, WorkspaceId};

use crate::{
    Failure, done_or_refused,
    gateway::{Answer, Gateway, Request},
    operator,
    output::{self, Colour},
    text,
};

#[derive(Debug, Args)]
pub(crate) struct ContainersArguments {
    /// Owner of the containers [default: WAYBILL_WORKSPACE]
    #[arg(long, value_name = "NAME")]
    workspace: Option<WorkspaceId>,
    /// Only those on this worker.
    #[arg(long, value_name = "ID")]
    worker: Option<WorkerId>,
    /// Only those that run this image.
    #[arg(long, value_name = "ID")]
    image: Option<ImageId>,
    /// Only those that have this secret.
    #[arg(long, value_name = "NAME")]
    secret: Option<SecretName>,
    /// Only those that are healthy, broken or in_flight.
    #[arg(long, value_name = "STATE", value_parser = ["healthy", "broken", "in_flight"])]
    state: Option<String>,
    /// Only those with this code, such as unauthorized.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Most containers, the newest.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// The gateway's answer as JSON.
    #[arg(long)]
    json: bool,
}

/// `waybill containers`: 0 listed, 1 refused, 2 not asked or not answered.
pub(crate) fn run(home: &Path, arguments: &ContainersArguments) -> ExitCode {
    done_or_refused(list(home, arguments))
}

fn list(home: &Path, arguments: &ContainersArguments) -> Result<bool, Failure> {
    let settings = operator::settings(home)?;
    let workspace = operator::workspace(&settings, arguments.workspace.as_ref())?;
    let gateway = Gateway::read(home, &settings, workspace.clone())?;
    let answer = gateway.ask_all(&request(arguments, &workspace), "containers", "up_to", arguments.limit)?;
    let mut out = output::stdout();
    match arguments.json {
        true => writeln!(out, "{}", answer.body)?,
        false => print(&mut out, &answer, &workspace, output::coloured())?,
    }
    Ok(answer.is_good)
}

fn request(arguments: &ContainersArguments, workspace: &WorkspaceId) -> Request {
    let ContainersArguments { worker, image, secret, state, code, .. } = arguments;
    let query = [
        ("workspace", Some(workspace.to_string())),
        ("worker", worker.as_ref().map(ToString::to_string)),
        ("image", image.as_ref().map(ToString::to_string)),
        ("secret", secret.as_ref().map(ToString::to_string)),
        ("state", state.clone()),
        ("code", code.clone()),
    ];
    let query = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Request { method: Method::GET, path: vec!["containers".to_owned()], query, body: None }
}

/// One line a container; below, what is not at its beginning.
fn print(out: &mut impl Write, answer: &Answer, workspace: &WorkspaceId, coloured: bool) -> Result<(), Failure> {
    let Some(containers) = answer.body.get("containers").and_then(Value::as_array) else {
        return text::fields(out, 0, &text::flatten(&answer.body));
    };
    if containers.is_empty() {
        writeln!(out, "workspace {workspace} has no such containers")?;
    }
    for container in containers {
        let field = |name: &str| container.get(name).map(text::plain).unwrap_or_default();
        let state = field("state");
        let colour = match state.as_str() {
            "healthy" => Colour::Green,
            "broken" => Colour::Red,
            _ => Colour::Yellow,
        };
        let state = output::paint(&format!("{state:<9}"), colour, coloured);
        let first = format!("{:>7} {state} ", field("placement"));
        let image = Some(field("image_id")).filter(|image| !image.is_empty());
        let image = image.map_or_else(String::new, |image| format!(" runs {image}"));
        let said = format!(
            "{}{image} on {}: {} at {}",
            field("container_id"),
            field("worker_id"),
            field("code"),
            field("hop")
        );
        for (index, line) in textwrap::wrap(&said, output::width().saturating_sub(20)).iter().enumerate() {
            let before = if index == 0 { first.as_str() } else { "                    " };
            writeln!(out, "{before}{line}")?;
        }
    }
    if answer.body.get("next").is_some() {
        writeln!(out, "there are more; --limit shows them")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_a_line() {
        let container = |id: &str| {
            json!({
                "container_id": id, "placement": 17, "worker_id": "node-2", "image_id": "img-1", "state": "broken",
                "hop": "pull", "code": "unauthorized"
            })
        };
        let cases = [
            (
                json!({ "containers": [container("c-1")] }),
                "     17 broken    c-1 runs img-1 on node-2: unauthorized at pull\n".to_owned(),
            ),
            (json!({ "containers": [] }), "workspace acme has no such containers\n".to_owned()),
            (json!({ "code": "unauthenticated" }), "code  unauthenticated\n".to_owned()),
        ];
        for (body, expected) in cases {
            let mut out = Vec::new();
            print(&mut out, &Answer { is_good: true, body }, &"acme".parse().unwrap(), false).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        let body = json!({ "containers": [container(&"x\u{1b}".repeat(90))], "next": 3 });
        print(&mut out, &Answer { is_good: true, body }, &"acme".parse().unwrap(), false).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= output::width() && !line.contains('\u{1b}')), "{text}");
        assert!(text.ends_with("there are more; --limit shows them\n"), "{text}");
    }
}
