//! The two forms of a log line. Values have their control characters escaped: a hostile text cannot forge a line.

use std::fmt::{self, Write as _};

use opentelemetry::{Context, trace::TraceContextExt as _};
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// How lines are written.
#[derive(Debug, Clone)]
pub(super) struct LogFormat {
    pub(super) service: String,
    pub(super) json: bool,
    pub(super) coloured: bool,
}

impl<S, N> FormatEvent<S, N> for LogFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let at = OffsetDateTime::now_utc();
        let line = if self.json { self.json_line(at, event, fields)? } else { self.text_line(at, event, &fields)? };
        writeln!(writer, "{line}")
    }
}

impl LogFormat {
    fn json_line(&self, at: OffsetDateTime, event: &Event<'_>, fields: Fields) -> Result<String, fmt::Error> {
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), at.format(&Rfc3339).map_err(|_| fmt::Error)?.into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("service".to_owned(), self.service.clone().into());
        line.insert("target".to_owned(), event.metadata().target().into());
        line.insert("message".to_owned(), fields.message.into());
        line.extend(fields.others.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let context = Context::current();
        let span = context.span();
        if span.span_context().is_valid() {
            line.insert("trace_id".to_owned(), span.span_context().trace_id().to_string().into());
            line.insert("span_id".to_owned(), span.span_context().span_id().to_string().into());
        }
        serde_json::to_string(&line).map_err(|_| fmt::Error)
    }

    fn text_line(&self, at: OffsetDateTime, event: &Event<'_>, fields: &Fields) -> Result<String, fmt::Error> {
        let level = *event.metadata().level();
        let service = self.service.strip_prefix("waybill-").unwrap_or(&self.service);
        let mut line = format!("{:02}:{:02}:{:02}.{:03} ", at.hour(), at.minute(), at.second(), at.millisecond());
        match (self.coloured, colour(level)) {
            (true, colour) => write!(line, "\u{1b}[{colour}m{level:<5}\u{1b}[0m")?,
            (false, _) => write!(line, "{level:<5}")?,
        }
        write!(line, " {service:<9} {}", escaped(&fields.message))?;
        for (name, value) in &fields.others {
            match value {
                Value::String(text) => write!(line, " {name}={}", quoted(text))?,
                other => write!(line, " {name}={other}")?,
            }
        }
        Ok(line)
    }
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

/// The text with control characters written out.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// In quotes only where a reader could not tell where it ends.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains([' ', '"', '=']);
    if plain { escaped(text) } else { format!("\"{}\"", escaped(text).replace('"', "\\\"")) }
}

/// The fields of an event: the message, and the others in their order.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.insert(field, crate::chain(value).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_value_stays_in_its_line() {
        let cases = [
            ("plain", "plain"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a\nINFO forged", "\"a\\nINFO forged\""),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("say \"x\"", "\"say \\\"x\\\"\""),
        ];
        for (value, shown) in cases {
            assert_eq!(quoted(value), shown);
        }
    }
}
