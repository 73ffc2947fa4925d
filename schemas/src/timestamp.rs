//! A point in time on the wire: RFC 3339, UTC when written.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::datetime};

/// A point in time, nanosecond resolution, ordered by instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// The instant as the `time` crate holds it.
    pub fn instant(self) -> OffsetDateTime {
        self.0
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        // RFC 3339 has years 0000 to 9999 only; an instant beyond is held at that bound, so that it can be written.
        let bound = if at.year() < 5000 { datetime!(0000-01-01 00:00 UTC) } else { datetime!(9999-12-31 23:59:59 UTC) };
        let utc = at.checked_to_offset(UtcOffset::UTC).filter(|utc| (0..=9999).contains(&utc.year()));
        Self(utc.unwrap_or(bound))
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339).map(Self::from)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = time::error::Parse;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> String {
        at.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_utc_and_always_writable() {
        let cases = [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.000000001+02:00", "2026-01-02T01:04:05.000000001Z"),
            ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z"),
            ("0000-01-01T00:00:00+23:59", "0000-01-01T00:00:00Z"),
        ];
        for (text, written) in cases {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), written, "{text}");
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
