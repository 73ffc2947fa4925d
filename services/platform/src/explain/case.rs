//! Case files: a question with every message that its answer rests on, as JSON. Whoever has the file gets the same answer without
//! a log. The log holds no secret, so that the file holds none.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use waybill_domain::explain::{Asked, Case, Entry, Explanation, History, Readers, Seen, Verdict};
use waybill_schemas::{Recorded, RecordedEvent, Subject, Timestamp, WorkspaceId, decode, header};

use super::redact::redact;

/// Largest file, in bytes.
pub const LARGEST_CASE: usize = 50_000;
const FORMAT: u32 = 1;
/// Messages about images and secrets that are kept of the beginning, where not all are.
const FIRST: usize = 4;
/// Headers of a message that say nothing which the rest does not.
const REPEATED: [&str; 4] = [header::NATS_MSG_ID, header::SUBJECT, header::DATASCHEMA, header::DATACONTENTTYPE];

/// A case as it stands in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    waybill_case: u32,
    kind: String,
    workspace: WorkspaceId,
    id: String,
    now: Timestamp,
    readers: Readers,
    complete_from: u64,
    elsewhere: Vec<WorkspaceId>,
    verdict: Told,
    messages: Vec<Message>,
}

/// What was answered when the file was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// `healthy`, `broken` or `in_flight`.
    pub state: String,
    /// The hop.
    pub hop: String,
    /// Why, as one word.
    pub code: String,
}

impl From<&Verdict> for Told {
    fn from(verdict: &Verdict) -> Self {
        let [state, hop, code] = [verdict.state.as_str(), verdict.hop.as_str(), verdict.code.as_str()];
        Self { state: state.to_owned(), hop: hop.to_owned(), code: code.to_owned() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    sequence: u64,
    at: Timestamp,
    subject: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    /// Why it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Why a file is no case, or none can be made.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// Not the JSON of a case.
    #[error("this is no case file of `waybill case`")]
    Json(#[from] serde_json::Error),
    /// Written by another version.
    #[error("the case file has format {0}, and this version reads {FORMAT}; make the case anew")]
    Format(u32),
    /// An id or a kind that there cannot be.
    #[error("the case file names no container, image or secret")]
    Asked,
    /// What would be left out changes the answer.
    #[error("what the answer rests on has more than {LARGEST_CASE} bytes")]
    TooLarge,
}

/// A case that was read from a file.
#[derive(Debug)]
pub struct ReadCase {
    /// The question, and what was found for it.
    pub case: Case,
    /// What was answered when the file was made.
    pub told: Told,
}

/// Writes a case; with `redacted`, names are replaced by hashes that tell them apart within this file only.
///
/// # Errors
/// [`CaseError::TooLarge`].
pub fn write_case(case: &Case, redacted: bool) -> Result<String, CaseError> {
    let told = Told::from(&case.explain().verdict);
    let case = if redacted { redact(case) } else { case.clone() };
    let text = to_text(&case, &told)?;
    if text.len() <= LARGEST_CASE {
        return Ok(text);
    }
    [40, 20, 10, 5]
        .into_iter()
        .find_map(|kept| {
            let less = shorten(&case, kept);
            let text = to_text(&less, &told).ok()?;
            (text.len() <= LARGEST_CASE && Told::from(&less.explain().verdict) == told).then_some(text)
        })
        .ok_or(CaseError::TooLarge)
}

/// Without most of what was said of images and secrets: the placement rests on its beginning, and the present on its end.
fn shorten(case: &Case, kept: usize) -> Case {
    let of_placement = |entry: &Entry| {
        matches!(
            entry.value.subject(),
            Some(
                Subject::Container { .. }
                    | Subject::ContainerDecision { .. }
                    | Subject::ContainerOutcome { .. }
                    | Subject::Worker { .. }
            )
        )
    };
    let (mut entries, others): (Vec<Entry>, Vec<Entry>) =
        case.history.entries().iter().cloned().partition(of_placement);
    let newest = others.len().saturating_sub(kept);
    let from = others.get(newest).map_or(0, |entry| entry.sequence).max(case.history.is_complete_from());
    let others = others.into_iter().enumerate().filter(|(at, _)| *at < FIRST || *at >= newest);
    entries.extend(others.map(|(_, entry)| entry));
    let history = History::new(entries, case.history.elsewhere().to_vec()).complete_from(from);
    Case { history, ..case.clone() }
}

fn to_text(case: &Case, told: &Told) -> Result<String, CaseError> {
    let (kind, id) = case.asked.parts();
    let file = CaseFile {
        waybill_case: FORMAT,
        kind: kind.to_owned(),
        workspace: case.workspace.clone(),
        id: id.to_owned(),
        now: case.now,
        readers: case.readers.clone(),
        complete_from: case.history.is_complete_from(),
        elsewhere: case.history.elsewhere().to_vec(),
        verdict: told.clone(),
        messages: case.history.entries().iter().map(to_message).collect::<Result<_, _>>()?,
    };
    Ok(serde_json::to_string(&file)?)
}

fn to_message(entry: &Entry) -> Result<Message, serde_json::Error> {
    let Recorded { sequence, at, value } = entry;
    let (sequence, at) = (*sequence, *at);
    Ok(match value {
        Seen::Unreadable { subject, error } => Message {
            sequence,
            at,
            subject: subject.clone(),
            headers: Vec::new(),
            body: None,
            error: Some(error.clone()),
        },
        Seen::Event(recorded) => {
            let RecordedEvent { subject, envelope, event } = recorded.as_ref();
            let headers = envelope.to_headers(event.event_type(), subject).into_iter();
            let headers = headers.filter(|(name, _)| !REPEATED.contains(name));
            Message {
                sequence,
                at,
                subject: subject.to_string(),
                headers: headers.map(|(name, value)| (name.to_owned(), value)).collect(),
                body: Some(serde_json::from_slice(&event.to_json()?)?),
                error: None,
            }
        }
    })
}

/// Reads a case file.
///
/// # Errors
/// [`CaseError`].
pub fn read_case(text: &str) -> Result<ReadCase, CaseError> {
    let file: CaseFile = serde_json::from_str(text)?;
    if file.waybill_case != FORMAT {
        return Err(CaseError::Format(file.waybill_case));
    }
    let asked = match file.kind.as_str() {
        "container" => file.id.parse().map(Asked::Container).ok(),
        "image" => file.id.parse().map(Asked::Image).ok(),
        "secret" => file.id.parse().map(Asked::Secret).ok(),
        _ => None,
    };
    let entries = file.messages.into_iter().map(from_message).collect();
    let history = History::new(entries, file.elsewhere).complete_from(file.complete_from);
    let (workspace, readers, now) = (file.workspace, file.readers, file.now);
    let case = Case { workspace, asked: asked.ok_or(CaseError::Asked)?, history, readers, now };
    Ok(ReadCase { case, told: file.verdict })
}

/// An event that this version reads no more is one that cannot be read: the answer changes, and says so.
fn from_message(message: Message) -> Entry {
    let Message { sequence, at, subject, headers, body, error } = message;
    let value = match (body, error) {
        (Some(body), None) => match decode(&subject, headers.as_slice(), body.to_string().as_bytes()) {
            Ok(event) => Seen::Event(Box::new(event)),
            Err(error) => Seen::Unreadable { subject, error: error.to_string() },
        },
        (_, error) => Seen::Unreadable { subject, error: error.unwrap_or_default() },
    };
    Recorded { sequence, at, value }
}

impl ReadCase {
    /// The answer of this version, and true if it is the one that was given when the file was made.
    pub fn explain(&self) -> (Explanation, bool) {
        let explanation = self.case.explain();
        let same = Told::from(&explanation.verdict) == self.told;
        (explanation, same)
    }
}
