//! How a token's age decides what to do with it.

use time::{Duration, OffsetDateTime};

/// A token is replaced this long before its end, or a tenth of its life if that is shorter.
const AHEAD: Duration = Duration::minutes(5);
/// A token is not used this close to its end: the pull would outlive it.
const TOO_LATE: Duration = Duration::seconds(15);

/// What to do with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and get the next one meanwhile.
    Ageing,
    /// Do not use it.
    Expired,
}

/// Judges a token issued and expiring at these times. One that was issued with an end in the past is expired from the start.
pub(super) fn freshness(issued: OffsetDateTime, expires: OffsetDateTime, now: OffsetDateTime) -> Freshness {
    let life = expires - issued;
    let left = expires - now;
    if left <= TOO_LATE.min(life / 20).max(Duration::ZERO) {
        return Freshness::Expired;
    }
    if left <= AHEAD.min(life / 10) { Freshness::Ageing } else { Freshness::Fresh }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ages() {
        let hour = 3600;
        let cases = [
            ("new, for 12 hours", 12 * hour, 0, Freshness::Fresh),
            ("a minute before the margin", 12 * hour, 12 * hour - 360, Freshness::Fresh),
            ("five minutes left", 12 * hour, 12 * hour - 300, Freshness::Ageing),
            ("sixteen seconds left", 12 * hour, 12 * hour - 16, Freshness::Ageing),
            ("fifteen seconds left", 12 * hour, 12 * hour - 15, Freshness::Expired),
            ("over", 12 * hour, 12 * hour + 1, Freshness::Expired),
            ("short-lived, half over", 60, 30, Freshness::Fresh),
            ("short-lived, a tenth left", 60, 54, Freshness::Ageing),
            ("short-lived, a twentieth left", 60, 57, Freshness::Expired),
            ("issued with an end in the past", -10, 0, Freshness::Expired),
        ];
        let issued = OffsetDateTime::UNIX_EPOCH + Duration::seconds(1_000_000);
        let after = |seconds: i64| issued + Duration::seconds(seconds);
        for (name, life, age, expected) in cases {
            assert_eq!(freshness(issued, after(life), after(age)), expected, "{name}");
        }
    }
}
