//! `waybill explain`: which hop broke, why, since when, and what to do.

mod text;

use std::{io::Write as _, path::Path, process::ExitCode, sync::Arc};

use serde_json::{Map, Value, json};
use waybill_domain::explain::{Explanation, State, Step};
use waybill_platform::{
    config::Settings,
    explain::{Explainer, Moment, Scope},
    log::{EventLog, Log as _},
    trace,
};

use crate::{
    Failure,
    cli::{ExplainArguments, Question},
    exit, operator, output,
    place::Place,
};

/// `waybill explain`: the exit status says how the id is.
pub(crate) fn run(home: &Path, arguments: &ExplainArguments) -> ExitCode {
    let answered = operator::settings(home).and_then(|settings| {
        let explanation = ask(&settings, arguments)?;
        show(&explanation, &Traces::read(&settings)?, arguments.json)?;
        Ok(explanation.verdict.state)
    });
    match answered {
        Ok(State::Healthy) => ExitCode::SUCCESS,
        Ok(State::Broken) => ExitCode::from(exit::BROKEN),
        Ok(State::InFlight) => ExitCode::from(exit::IN_FLIGHT),
        Err(failure) => {
            output::error(failure.as_ref());
            ExitCode::from(exit::USAGE)
        }
    }
}

fn ask(settings: &Settings, arguments: &ExplainArguments) -> Result<Explanation, Failure> {
    let workspace = operator::workspace(settings, arguments.workspace.as_ref())?;
    operator::with_log(settings, Err("interrupted".into()), |log| async move {
        let moment = moment(&log, arguments.at).await?;
        let explainer = Explainer { log: Arc::new(log), scope: Scope::Everything, moment };
        Ok(match &arguments.question {
            Question::Image { id } => explainer.image(&workspace, id).await?,
            Question::Container { id } => explainer.container(&workspace, id).await?,
            Question::Secret { name } => explainer.secret(&workspace, name).await?,
        })
    })
}

/// The moment that `--at` names.
async fn moment(log: &EventLog, at: Option<Place>) -> Result<Moment, Failure> {
    Ok(match at {
        None => Moment::Now,
        Some(Place::Time(time)) => Moment::Past { sequence: Place::Time(time).last(log).await?, at: time },
        Some(Place::Sequence(sequence)) => {
            let message = log.message_at(sequence).await?;
            let at = message.ok_or_else(|| format!("the log has no event at sequence {sequence}"))?.at;
            Moment::Past { sequence, at }
        }
    })
}

/// Where traces can be looked at (`WAYBILL_JAEGER_URL`).
pub(crate) struct Traces(Option<String>);

impl Traces {
    pub(crate) fn read(settings: &Settings) -> Result<Self, Failure> {
        let mut reader = settings.reader();
        let url = reader.optional("WAYBILL_JAEGER_URL", |text| {
            let valid = text.starts_with("http://") || text.starts_with("https://");
            if valid { Ok(text.trim_end_matches('/').to_owned()) } else { Err("an http:// or https:// address") }
        });
        reader.finish()?;
        Ok(Self(url))
    }

    /// The trace's page, where the address is known.
    pub(crate) fn link(&self, trace_id: &str) -> Option<String> {
        self.0.as_ref().map(|url| format!("{url}/trace/{trace_id}"))
    }
}

fn show(explanation: &Explanation, traces: &Traces, as_json: bool) -> Result<(), Failure> {
    let text = match as_json {
        true => serde_json::to_string_pretty(&document(explanation, traces)?)?,
        false => text::render(explanation, traces, trace::now(), output::coloured()),
    };
    writeln!(output::stdout(), "{text}")?;
    Ok(())
}

/// The explanation as JSON, each step with the address of its trace.
fn document(explanation: &Explanation, traces: &Traces) -> Result<Value, Failure> {
    let mut document = serde_json::to_value(explanation)?;
    let steps = document.get_mut("timeline").and_then(Value::as_array_mut).into_iter().flatten();
    for (value, step) in steps.zip(&explanation.timeline) {
        if let (Some(object), Some(link)) = (value.as_object_mut(), link(step, traces)) {
            let _: Option<Value> = Map::insert(object, "trace_url".to_owned(), json!(link));
        }
    }
    Ok(document)
}

fn link(step: &Step, traces: &Traces) -> Option<String> {
    step.trace_id.as_deref().and_then(|trace_id| traces.link(trace_id))
}
