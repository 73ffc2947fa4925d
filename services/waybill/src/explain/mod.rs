//! `waybill explain`: which hop broke, why, since when, and what to do.

pub(crate) mod case;
mod since;
mod text;

pub(crate) use since::fold_log;
pub(crate) use text::{paragraph, sentence, time as spell_time};

use std::{io::Write as _, path::Path, process::ExitCode};

use serde_json::{Map, Value, json};
use waybill_domain::explain::{Asked, Case, Code, Difference, Explanation, Proof, Readers, State, Step, prove_remedy};
use waybill_platform::{
    config::Settings,
    events::Place,
    explain::{Explainer, Moment, Scope},
    log::{Log, read_archives},
    trace,
};
use waybill_schemas::WorkspaceId;

use crate::{
    Failure,
    cli::{ExplainArguments, Question},
    doctor, exit, operator, output,
};

/// `waybill explain`: the exit status says how the id is.
pub(crate) fn run(home: &Path, arguments: &ExplainArguments) -> ExitCode {
    match answer(home, arguments) {
        Ok(State::Healthy) => ExitCode::SUCCESS,
        Ok(State::Broken) => ExitCode::from(exit::BROKEN),
        Ok(State::InFlight) => ExitCode::from(exit::IN_FLIGHT),
        Err(failure) => {
            output::error(failure.as_ref());
            ExitCode::from(exit::USAGE)
        }
    }
}

impl Question {
    /// What is asked about.
    pub(crate) fn asked(&self) -> Asked {
        match self {
            Self::Image { id } => Asked::Image(id.clone()),
            Self::Container { id } => Asked::Container(id.clone()),
            Self::Secret { name } => Asked::Secret(name.clone()),
        }
    }
}

fn answer(home: &Path, arguments: &ExplainArguments) -> Result<State, Failure> {
    if let Some(file) = &arguments.case {
        let told = case::explain(file, arguments.prove)?;
        // A machine that looks at somebody's case may have no home of Waybill's.
        let traces = operator::settings(home).and_then(|settings| Traces::read(&settings));
        return show(&told, &traces.unwrap_or(Traces(None)), arguments);
    }
    match (&arguments.question, &arguments.since) {
        (None, Some(text)) => {
            let since = text.parse().map_err(|error: &str| format!("--since {text}: {error}"))?;
            let broken = since::run(home, arguments, since)?;
            Ok(broken.map_or(State::Healthy, |broken| if broken { State::Broken } else { State::InFlight }))
        }
        (Some(question), None) => {
            let settings = operator::settings(home)?;
            let told = ask(home, &settings, arguments, question)?;
            show(&told, &Traces::read(&settings)?, arguments)
        }
        (None, None) => {
            Err("explain what? An image, a container or a secret, what failed with --since 1h, or a file with --case"
                .into())
        }
        (Some(_), Some(_)) => Err("--since asks about all containers; leave the id out".into()),
    }
}

/// What is told: one moment, or what changed since another.
enum Told {
    Story(Explanation, Option<Proof>),
    Changes(Difference),
}

impl Told {
    fn about(case: &Case, prove: bool) -> Self {
        Self::Story(case.explain(), prove.then(|| prove_remedy(case)))
    }

    /// With where else a container may be found that the log does not know.
    fn with_note(mut self, archived: Option<String>) -> Self {
        if let (Self::Story(story, _), Some(note)) = (&mut self, archived) {
            story.notes.push(note);
        }
        self
    }

    /// True for a container that the log has no request of.
    fn lacks_request(&self) -> bool {
        matches!(self, Self::Story(story, _) if story.verdict.code == Code::NotRequested)
    }
}

/// What left the log, for whoever asks about a container that it has no request of.
async fn archived_note(log: &dyn Log) -> Result<Option<String>, Failure> {
    let runs = read_archives(log).await?.runs;
    let placements = runs.iter().map(|run| run.placements).fold(0, u64::saturating_add);
    Ok(runs.last().map(|run| {
        let (archive, before) = (&run.archive, run.before);
        format!(
            "{placements} placements that were over were archived and left the log, the last of them before {before}; if this \
             container had one of them, `--archive {archive}` shows it"
        )
    }))
}

/// Everything that an answer rests on, at a moment of the past or now.
async fn gather(
    home: &Path,
    present: &Explainer,
    workspace: &WorkspaceId,
    asked: &Asked,
    place: Option<Place>,
) -> Result<Case, Failure> {
    let explainer = match place {
        Some(place) => present.at(place).await?.ok_or("the log has no event at this sequence")?,
        None => present.clone(),
    };
    let mut case = explainer.gather(workspace, asked).await?;
    // This process publishes nothing, and so finds out nothing of the log's room. Where nobody is waited for, it does not matter.
    if case.readers != Readers::unknown() {
        case.readers.log_full = doctor::no_room(home).await;
    }
    Ok(case)
}

fn ask(home: &Path, settings: &Settings, arguments: &ExplainArguments, question: &Question) -> Result<Told, Failure> {
    let workspace = operator::workspace(settings, arguments.workspace.as_ref())?;
    let asked = question.asked();
    operator::with_log(settings, Err("interrupted".into()), |log| async move {
        let log = operator::whole_log(log, arguments.archive.as_deref()).await?;
        let present = Explainer { log: log.clone(), scope: Scope::Everything, moment: Moment::Now };
        let gather = |place| gather(home, &present, &workspace, &asked, place);
        match arguments.diff {
            None => {
                let told = Told::about(&gather(arguments.at).await?, arguments.prove);
                match told.lacks_request() && arguments.archive.is_none() {
                    true => Ok(told.with_note(archived_note(log.as_ref()).await?)),
                    false => Ok(told),
                }
            }
            then @ Some(_) => {
                let (then, now) = (gather(then).await?, gather(arguments.at).await?);
                Ok(Told::Changes(Difference::between(&then.explain(), now.explain())))
            }
        }
    })
}

/// Where traces can be looked at (`WAYBILL_JAEGER_URL`).
pub(crate) struct Traces(Option<String>);

impl Traces {
    pub(crate) fn read(settings: &Settings) -> Result<Self, Failure> {
        let mut reader = settings.reader();
        let url = reader.optional("WAYBILL_JAEGER_URL", waybill_gateway::trace_pages);
        reader.finish()?;
        Ok(Self(url))
    }

    /// The trace's page, where the address is known.
    pub(crate) fn link(&self, trace_id: &str) -> Option<String> {
        self.0.as_ref().map(|url| format!("{url}/trace/{trace_id}"))
    }
}

/// Prints it, and returns how the id is.
fn show(told: &Told, traces: &Traces, arguments: &ExplainArguments) -> Result<State, Failure> {
    let (now, coloured) = (trace::now(), output::coloured());
    let (text, state) = match told {
        Told::Story(story, proof) if arguments.json => {
            let mut value = serde_json::to_value(story)?;
            if let (Some(proof), Some(members)) = (proof, value.as_object_mut()) {
                members.insert("remedy_proof".to_owned(), serde_json::to_value(proof)?);
            }
            (document(value, "timeline", &story.timeline, traces)?, story.verdict.state)
        }
        Told::Changes(changes) if arguments.json => {
            (document(serde_json::to_value(changes)?, "steps", &changes.steps, traces)?, changes.after.state)
        }
        Told::Story(story, _) if arguments.short => (text::render_short(story, now, coloured), story.verdict.state),
        Told::Story(story, proof) => {
            let proof = proof.as_ref().map_or_else(String::new, |proof| text::render_proof(proof, now, coloured));
            (format!("{}{proof}", text::render(story, traces, now, coloured)), story.verdict.state)
        }
        Told::Changes(changes) => (text::render_changes(changes, traces, now, coloured), changes.after.state),
    };
    writeln!(output::stdout(), "{text}")?;
    Ok(state)
}

/// An answer as JSON, each step with the address of its trace.
fn document(mut document: Value, member: &str, steps: &[Step], traces: &Traces) -> Result<String, Failure> {
    let values = document.get_mut(member).and_then(Value::as_array_mut).into_iter().flatten();
    for (value, step) in values.zip(steps) {
        if let (Some(object), Some(link)) = (value.as_object_mut(), link(step, traces)) {
            let _: Option<Value> = Map::insert(object, "trace_url".to_owned(), json!(link));
        }
    }
    Ok(serde_json::to_string_pretty(&document)?)
}

fn link(step: &Step, traces: &Traces) -> Option<String> {
    step.trace_id.as_deref().and_then(|trace_id| traces.link(trace_id))
}
