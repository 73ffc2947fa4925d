//! `waybill explain --since`: what failed in a time span, one entry for each root cause.
//!
//! The gateway keeps that folded and answers at once. Where it is away, the log is read and folded here.

use std::{fmt::Write as _, io::Write as _, path::Path, sync::Arc};

use reqwest::Method;
use serde_json::{Value, json};
use waybill_domain::fleet::Fleet;
use waybill_platform::{
    config::Settings,
    events::Since,
    explain::{Explainer, Moment, Scope, explain_group},
    log::{EventLog, Log as _},
    trace,
};
use waybill_schemas::{Filter, Recorded, Subject, WorkspaceId};

use super::text::{paragraph, sentence, time};
use crate::{
    Failure,
    cli::ExplainArguments,
    gateway::{Gateway, Request},
    operator,
    output::{self, Colour},
    text::plain,
};

/// Most causes that are told.
const MOST: usize = 100;
/// Messages of one question.
const BATCH: usize = 1000;

/// Prints the causes; returns how bad they are: true where something is broken, none where there is no cause.
pub(super) fn run(home: &Path, arguments: &ExplainArguments, since: Since) -> Result<Option<bool>, Failure> {
    let settings = operator::settings(home)?;
    let workspace = match arguments.all {
        true => None,
        false => Some(operator::workspace(&settings, arguments.workspace.as_ref())?),
    };
    let text = arguments.since.clone().unwrap_or_default();
    let asked = workspace.as_ref().map(|workspace| ask_gateway(home, &settings, workspace, &text));
    let answer = match asked {
        Some(Ok(answer)) => answer,
        _ => read_log(&settings, workspace.as_ref(), since)?,
    };
    match arguments.json {
        true => writeln!(output::stdout(), "{}", serde_json::to_string_pretty(&answer)?)?,
        false => writeln!(output::stdout(), "{}", render(&answer, &text, output::coloured()))?,
    }
    let causes = list(&answer);
    Ok((!causes.is_empty()).then(|| causes.iter().any(|cause| cause["state"] == "broken")))
}

fn ask_gateway(home: &Path, settings: &Settings, workspace: &WorkspaceId, since: &str) -> Result<Value, Failure> {
    let query = vec![("workspace", workspace.to_string()), ("since", since.to_owned()), ("limit", MOST.to_string())];
    let request = Request { method: Method::GET, path: vec!["failures".to_owned()], query, body: None };
    let answer = Gateway::read(home, settings, workspace.clone())?.ask(&request)?;
    if answer.is_good { Ok(answer.body) } else { Err("the gateway refuses".into()) }
}

fn read_log(settings: &Settings, workspace: Option<&WorkspaceId>, since: Since) -> Result<Value, Failure> {
    operator::with_log(settings, Err("interrupted".into()), |log| async move {
        let now = trace::now();
        let since = since.time(&log, now).await?;
        let fleet = fold_log(&log).await?;
        let mut groups = fleet.group_failures(workspace.map(WorkspaceId::as_str), since, now);
        let more = groups.len() > MOST;
        groups.truncate(MOST);
        let explainer = Explainer { log: Arc::new(log), scope: Scope::Everything, moment: Moment::Now };
        let mut causes = Vec::new();
        for group in groups {
            causes.push(explain_group(&explainer, group).await?);
        }
        let complete = fleet.failures_complete_from().is_none_or(|complete| complete <= since);
        Ok(json!({
            "since": since, "position": fleet.position(), "complete": complete, "causes": causes, "more": more
        }))
    })
}

/// The whole log, as the gateway would have it.
pub(crate) async fn fold_log(log: &EventLog) -> Result<Fleet, Failure> {
    let (mut fleet, mut from) = (Fleet::default(), 1);
    loop {
        let page = log.read_page(&Filter::All, from, BATCH).await?;
        for message in &page.messages {
            let (sequence, at) = (message.sequence, message.at);
            match message.decode() {
                Ok(value) => fleet.apply(Recorded { sequence, at, value: &value }),
                Err(_) => fleet.pass_unreadable(sequence, at, message.subject.parse::<Subject>().ok().as_ref()),
            }
        }
        if !page.more {
            return Ok(fleet);
        }
        from = fleet.position().saturating_add(1);
    }
}

fn list(answer: &Value) -> &[Value] {
    answer["causes"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn render(answer: &Value, since: &str, coloured: bool) -> String {
    let (mut text, causes) = (String::new(), list(answer));
    let count = |cause: &Value, field: &str| cause[field].as_u64().unwrap_or_default();
    let containers = causes.iter().map(|cause| count(cause, "containers")).fold(0_u64, u64::saturating_add);
    let what = if containers == 0 { "requests were refused".to_owned() } else { format!("{containers} failed") };
    let said = match causes.len() {
        0 => format!("nothing failed since {since}"),
        1 => format!("{what} since {since}, of one cause"),
        many => format!("{what} since {since}, of {many} causes"),
    };
    paragraph(&mut text, &said, "");
    for cause in causes {
        let field = |name: &str| plain(&cause[name]);
        let colour = if field("state") == "broken" { Colour::Red } else { Colour::Yellow };
        let code = field("code");
        let head = format!("{code} at {}, {}", field("hop"), field("about"));
        let head = head.replacen(&code, &output::paint(&code, colour, coloured), 1);
        let _ = writeln!(text, "\n{head}");
        let many = |(name, one): (&str, &str)| match count(cause, name) {
            0 => None,
            1 => Some(format!("1 {one}")),
            many => Some(format!("{many} {one}s")),
        };
        let still = match count(cause, "still") {
            still if still == count(cause, "containers") => String::new(),
            0 => " (none still)".to_owned(),
            still => format!(" ({still} still)"),
        };
        let at =
            |place: &Value| place["time"].as_str().and_then(|text| text.parse().ok()).map(time).unwrap_or_default();
        let others = [("images", "image"), ("workers", "worker"), ("secrets", "secret")].into_iter().filter_map(many);
        let containers = many(("containers", "container")).map(|containers| format!("{containers}{still}"));
        let reach: Vec<String> = containers.into_iter().chain(others).collect();
        let spread = format!("  {}; from {} to {}", reach.join(", "), at(&cause["first"]), at(&cause["last"]));
        let spread = spread.replacen("  ; from", "  from", 1);
        paragraph(&mut text, &spread, "  ");
        paragraph(&mut text, &format!("  {}", sentence(&field("sentence"))), "  ");
        if !field("remedy").is_empty() {
            paragraph(&mut text, &format!("→ {}", field("remedy")), "  ");
        }
        let example = &cause["example"];
        let (kind, id) = (plain(&example["kind"]), plain(&example["id"]));
        let see = match kind.as_str() {
            "event" => format!("  see: waybill events --from {id} --until {id}"),
            kind => format!("  see: waybill explain {kind} {id} --workspace {}", plain(&example["workspace"])),
        };
        paragraph(&mut text, &see, "    ");
    }
    if answer["more"] == true {
        paragraph(&mut text, &format!("\nonly the {MOST} widest causes are told"), "");
    }
    if answer["complete"] == false {
        paragraph(&mut text, "\nfailures of the span's beginning are no longer known", "");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_with_its_remedy() {
        let cause = json!({
            "hop": "attached", "code": "secret_expired", "about": "secret team\u{1b}", "state": "broken", "containers": 800,
            "still": 3, "images": 12, "workers": 4, "secrets": 1, "workspaces": 1,
            "first": {"sequence": 3, "time": "2026-01-31T12:00:00Z"}, "last": {"sequence": 9, "time": "2026-01-31T12:01:00Z"},
            "example": {"kind": "container", "workspace": "acme", "id": "c-1", "placement": 7},
            "sentence": "secret team was at version 2, which expired", "remedy": "Give the secret a new version."
        });
        let text = render(&json!({ "causes": [cause], "complete": true, "more": false }), "1h", false);
        let expected = "800 failed since 1h, of one cause\n\n\
            secret_expired at attached, secret team\\u{1b}\n  \
            800 containers (3 still), 12 images, 4 workers, 1 secret; from 2026-01-31\n  \
            12:00:00.000 to 2026-01-31 12:01:00.000\n  \
            Secret team was at version 2, which expired.\n\
            → Give the secret a new version.\n  \
            see: waybill explain container c-1 --workspace acme";
        assert_eq!(text, expected);
        assert_eq!(render(&json!({ "causes": [] }), "2d", false), "nothing failed since 2d");
    }
}
