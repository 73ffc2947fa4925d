//! `waybill forecast`: what will break and when, each with the command that prevents it.
//!
//! The gateway keeps the log folded and answers at once. Where it is away, the log is read and folded here.

use std::{fmt::Write as _, io::Write as _, path::Path, process::ExitCode};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use waybill_domain::fleet::forecast;
use waybill_platform::{config::Settings, events::Within, trace};
use waybill_schemas::WorkspaceId;

use crate::{
    Failure, done_or_refused,
    explain::{fold_log, paragraph, sentence, spell_time},
    gateway::{Gateway, Request},
    operator,
    output::{self, Colour},
    text::plain,
};

/// What `--help` ends with.
pub(crate) const HELP: &str = "Examples:\n  waybill forecast\n  waybill forecast --within 12h --json\n  waybill forecast --all\n\n\
                               Exit status: 0 nothing breaks, 1 something does, 2 not answered";
/// Most that is told.
const MOST: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct ForecastArguments {
    /// How far ahead: 12h, 7d.
    #[arg(long, value_name = "SPAN", default_value = "7d")]
    within: Within,
    /// Whose secrets, images and tokens [default: WAYBILL_WORKSPACE]
    #[arg(long, value_name = "NAME")]
    workspace: Option<WorkspaceId>,
    /// Of every workspace.
    #[arg(long, conflicts_with = "workspace")]
    all: bool,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

/// `waybill forecast`: 0 nothing breaks, 1 something does, 2 not answered.
pub(crate) fn run(home: &Path, arguments: &ForecastArguments) -> ExitCode {
    done_or_refused(tell(home, arguments))
}

fn tell(home: &Path, arguments: &ForecastArguments) -> Result<bool, Failure> {
    let settings = operator::settings(home)?;
    let workspace = match arguments.all {
        true => None,
        false => Some(operator::workspace(&settings, arguments.workspace.as_ref())?),
    };
    let asked = workspace.as_ref().map(|workspace| ask_gateway(home, &settings, workspace, arguments.within));
    let answer = match asked {
        Some(Ok(answer)) => answer,
        _ => read_log(&settings, workspace.as_ref(), arguments.within)?,
    };
    match arguments.json {
        true => writeln!(output::stdout(), "{}", serde_json::to_string_pretty(&answer)?)?,
        false => writeln!(output::stdout(), "{}", render(&answer, arguments.within, output::coloured()))?,
    }
    Ok(list(&answer).is_empty())
}

fn ask_gateway(home: &Path, settings: &Settings, workspace: &WorkspaceId, within: Within) -> Result<Value, Failure> {
    let query = vec![("workspace", workspace.to_string()), ("within", within.to_string()), ("limit", MOST.to_string())];
    let request = Request { method: Method::GET, path: vec!["forecast".to_owned()], query, body: None };
    let answer = Gateway::read(home, settings, workspace.clone())?.ask(&request)?;
    if answer.is_good { Ok(answer.body) } else { Err("the gateway refuses".into()) }
}

fn read_log(settings: &Settings, workspace: Option<&WorkspaceId>, within: Within) -> Result<Value, Failure> {
    operator::with_log(settings, Err("interrupted".into()), |log| async move {
        let (fleet, now) = (fold_log(&log).await?, trace::now());
        let mut forecasts = forecast(&fleet, workspace.map(WorkspaceId::as_str), now, within.0);
        let more = forecasts.len() > MOST;
        forecasts.truncate(MOST);
        let position = fleet.position();
        Ok(json!({ "until": within.after(now), "position": position, "forecasts": forecasts, "more": more }))
    })
}

fn list(answer: &Value) -> &[Value] {
    answer["forecasts"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn render(answer: &Value, within: Within, coloured: bool) -> String {
    let (mut text, forecasts) = (String::new(), list(answer));
    let said = match forecasts.len() {
        0 => format!("nothing that the log tells of breaks within {within}"),
        1 => format!("1 thing breaks within {within}"),
        many => format!("{many} things break within {within}"),
    };
    paragraph(&mut text, &said, "");
    for one in forecasts {
        let field = |name: &str| plain(&one[name]);
        let time = |name: &str| one[name].as_str().and_then(|text| text.parse().ok()).map(spell_time);
        let (when, colour) = match time("at") {
            Some(at) => (at, Colour::Yellow),
            None => ("already".to_owned(), Colour::Red),
        };
        let many = |(name, thing): (&str, &str)| match one[name].as_u64().unwrap_or_default() {
            0 => None,
            1 => Some(format!("1 {thing}")),
            many => Some(format!("{many} {thing}s")),
        };
        let counted = [("containers", "container"), ("images", "image"), ("workers", "worker")];
        let reach: Vec<String> = counted.into_iter().filter_map(many).collect();
        let reach = if reach.is_empty() { String::new() } else { format!("; {}", reach.join(", ")) };
        let head = format!("{when}: {} {}{reach}", field("kind"), field("id"));
        let _ = writeln!(text, "\n{}", head.replacen(&when, &output::paint(&when, colour, coloured), 1));
        paragraph(&mut text, &format!("  {}", sentence(&field("sentence"))), "  ");
        paragraph(&mut text, &format!("→ {}", field("remedy")), "  ");
    }
    if answer["more"] == true {
        paragraph(&mut text, &format!("\nonly the first {MOST} are told"), "");
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_is_told_with_its_command() {
        let one = json!({
            "kind": "secret_expires", "workspace": "acme", "id": "team\u{1b}", "at": "2026-01-31T12:00:00Z",
            "containers": 800, "images": 1, "workers": 0, "sentence": "version 2 of secret team expires",
            "remedy": "waybill secrets rotate team --creds FILE --workspace acme"
        });
        let within: Within = "7d".parse().unwrap();
        let text = render(&json!({ "forecasts": [one] }), within, false);
        let expected = "1 thing breaks within 7d\n\n\
            2026-01-31 12:00:00.000: secret_expires team\\u{1b}; 800 containers, 1 image\n  \
            Version 2 of secret team expires.\n\
            → waybill secrets rotate team --creds FILE --workspace acme";
        assert_eq!(text, expected);
        let none = render(&json!({ "forecasts": [] }), within, false);
        assert_eq!(none, "nothing that the log tells of breaks within 7d");
    }
}
