//! The log as people and programs read it: which events are asked for, page by page, and each as one JSON object.

mod page;
mod place;
mod select;

use serde_json::{Map, Value, json};
use waybill_schemas::{RecordedEvent, header};

use crate::log::RawMessage;

pub(crate) use page::merge_pages;
pub use page::{EventPage, Order, Span, read_events};
pub use place::{Place, Since, Within, read_span};
pub use select::{Ids, Selection, TraceId};

/// CloudEvents JSON format (1.0, section 3), with the place in the log as extension attributes: `sequence` (decimal text, as
/// the CloudEvents sequence extension has it), `recordedtime` and `natssubject`. What is no event has `error` instead of
/// `data`; its body stays in the log.
pub fn to_cloud_event(message: &RawMessage) -> Map<String, Value> {
    let mut line = Map::new();
    line.insert("sequence".to_owned(), json!(message.sequence.to_string()));
    line.insert("recordedtime".to_owned(), json!(message.at));
    line.insert("natssubject".to_owned(), json!(message.subject));
    match message.decode() {
        Ok(RecordedEvent { subject, envelope, event }) => {
            for (name, value) in envelope.to_headers(event.event_type(), &subject) {
                if name != header::NATS_MSG_ID {
                    line.insert(name.strip_prefix("ce-").unwrap_or(name).to_owned(), json!(value));
                }
            }
            let data = event.to_json().and_then(|body| serde_json::from_slice(&body));
            line.insert("data".to_owned(), data.unwrap_or(Value::Null));
        }
        Err(error) => {
            line.insert("error".to_owned(), json!(error.to_string()));
        }
    }
    line
}
