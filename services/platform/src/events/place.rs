//! A place in the log, as people name it: a sequence or a time.

use std::{fmt, str::FromStr};

use time::Duration;
use waybill_schemas::Timestamp;

use crate::log::{Log, LogError};

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A sequence.
    Sequence(u64),
    /// A time of the stream's clock.
    Time(Timestamp),
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(sequence) = text.parse() {
            return Ok(Self::Sequence(sequence));
        }
        text.parse().map(Self::Time).map_err(|_| "neither a sequence (1, 2, …) nor a time like 2026-01-31T12:00:00Z")
    }
}

impl Place {
    /// The sequence of the last event up to the place; an event recorded at that very time counts.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn last(self, log: &dyn Log) -> Result<u64, LogError> {
        match self {
            Self::Sequence(sequence) => Ok(sequence),
            Self::Time(time) => {
                let after = time.instant().checked_add(Duration::nanoseconds(1)).unwrap_or(time.instant());
                Ok(log.sequence_at(after.into()).await?.saturating_sub(1))
            }
        }
    }

    /// The sequence of the first event from the place on.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn first(self, log: &dyn Log) -> Result<u64, LogError> {
        match self {
            Self::Sequence(sequence) => Ok(sequence.max(1)),
            Self::Time(time) => log.sequence_at(time).await,
        }
    }
}

/// Where a time span begins that ends now: so long ago, or at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// At a place.
    Place(Place),
}

/// Reads so many seconds, minutes, hours or days: `0s`, `90s`, `30m`, `1h`, `2d`.
pub fn read_span(text: &str) -> Option<Duration> {
    let seconds = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: i64 = text.get(..text.len().checked_sub(1)?)?.parse().ok().filter(|number| *number >= 0)?;
    Some(Duration::seconds(number.checked_mul(seconds)?))
}

/// A time span from now on, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within(pub std::time::Duration);

impl FromStr for Within {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = read_span(text).filter(|span| !span.is_zero()).and_then(|span| span.try_into().ok());
        span.map(Self).ok_or("not a span like 30m, 12h or 7d")
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
        let whole = units.into_iter().find(|(unit, _)| seconds.checked_rem(*unit) == Some(0));
        let (unit, letter) = whole.unwrap_or((1, "s"));
        write!(f, "{}{letter}", seconds.checked_div(unit).unwrap_or(seconds))
    }
}

impl Within {
    /// The time at which a span ends that begins at `now`.
    pub fn after(self, now: Timestamp) -> Timestamp {
        let span = self.0.try_into().unwrap_or(Duration::MAX);
        now.instant().checked_add(span).unwrap_or(now.instant()).into()
    }
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = read_span(text).filter(|span| !span.is_zero()).map(Self::Ago);
        let place = || text.parse().map(Self::Place).ok();
        ago.or_else(place).ok_or("neither a span (30m, 1h, 2d), nor a sequence, nor a time like 2026-01-31T12:00:00Z")
    }
}

impl Since {
    /// The time at which the span begins.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn time(self, log: &dyn Log, now: Timestamp) -> Result<Timestamp, LogError> {
        match self {
            Self::Ago(ago) => Ok(now.instant().checked_sub(ago).unwrap_or(now.instant()).into()),
            Self::Place(Place::Time(time)) => Ok(time),
            Self::Place(Place::Sequence(sequence)) => {
                Ok(log.message_at(sequence).await?.map_or(now, |message| message.at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_the_future_is_written_as_it_is_read() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, then) in [
            ("7d", "2026-02-07T12:00:00Z"),
            ("12h", "2026-02-01T00:00:00Z"),
            ("90m", "2026-01-31T13:30:00Z"),
            ("61s", "2026-01-31T12:01:01Z"),
        ] {
            let within: Within = text.parse().unwrap();
            assert_eq!((within.to_string(), within.after(now).to_string()), (text.to_owned(), then.to_owned()));
        }
        for text in ["", "7", "0d", "-1d", "17", "2026-01-31T12:00:00Z", "99999999999999999d"] {
            assert_eq!(text.parse::<Within>().ok(), None, "{text}");
        }
        assert_eq!("9999999d".parse::<Within>().unwrap().after(now), now, "beyond all time");
    }

    #[test]
    fn a_span_is_read_as_people_write_it() {
        let time: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let cases = [
            ("30m", Some(Since::Ago(Duration::minutes(30)))),
            ("1h", Some(Since::Ago(Duration::hours(1)))),
            ("2d", Some(Since::Ago(Duration::days(2)))),
            ("17", Some(Since::Place(Place::Sequence(17)))),
            ("2026-01-31T12:00:00Z", Some(Since::Place(Place::Time(time)))),
            ("", None),
            ("h", None),
            ("-1h", None),
            ("1w", None),
            ("99999999999999999d", None),
            ("ä", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}
