//! How long an issuer is left alone after it gave no token, and what those who ask meanwhile are told.
//!
//! Keys that were deleted or lost a right are refused however often they are sent, and a cloud may lock an account that
//! sends them too often. Other keys, as after a rotation, have a token source and a rest of their own.

use std::time::Duration as StdDuration;

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc2822};

use super::ProviderError;

/// After the first refusal. Each further one in a row doubles it.
const FIRST: Duration = Duration::seconds(5);
/// After a fault that passes, unless the issuer says for how long.
const BRIEF: Duration = Duration::seconds(1);
/// The longest, whatever the issuer says; and how long afterwards it is remembered that there were refusals.
const LONGEST: Duration = Duration::minutes(2);
/// While the token that is held still works, there is no hurry.
const UNHURRIED: Duration = Duration::seconds(10);

/// The last answer that was no token.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    error: ProviderError,
    /// How many refusals in a row led here.
    refusals: u32,
    since: OffsetDateTime,
    until: OffsetDateTime,
}

impl Rest {
    /// The rest that an error calls for, where `before` is the one that ended with this attempt.
    pub(super) fn after(error: &ProviderError, before: Option<&Self>, now: OffsetDateTime) -> Self {
        let before = before.map_or(0, |rest| rest.refusals);
        let refusals = if error.is_passing() { before } else { before.saturating_add(1) };
        let length = if error.is_passing() {
            let asked = error.retry_after().map_or(BRIEF, |wait| wait.try_into().unwrap_or(LONGEST));
            asked.clamp(BRIEF, LONGEST)
        } else {
            FIRST.saturating_mul(1_i32.checked_shl(before.min(8)).unwrap_or(1)).min(LONGEST)
        };
        Self { error: error.clone(), refusals, since: now, until: now + length }
    }

    /// What those who ask now are told, unless the issuer may be asked again.
    pub(super) fn told(&self, now: OffsetDateTime) -> Option<ProviderError> {
        let seconds = |span: Duration| span.max(Duration::ZERO).whole_seconds().unsigned_abs();
        let nearly = Duration::milliseconds(999);
        self.is_on(now).then(|| ProviderError::Kept {
            told: Box::new(self.error.clone()),
            ago: seconds(now - self.since),
            left: seconds(self.until - now + nearly),
        })
    }

    /// Whether a token that still works may be replaced.
    pub(super) fn lets_replace(&self, now: OffsetDateTime) -> bool {
        !self.is_on(now) && (now < self.since || now >= self.since + UNHURRIED)
    }

    /// Whether it still says how long the next rest has to be.
    pub(super) fn is_remembered(&self, now: OffsetDateTime) -> bool {
        self.until - now <= LONGEST && now < self.until + LONGEST
    }

    /// A clock that was put back does not prolong it.
    fn is_on(&self, now: OffsetDateTime) -> bool {
        now < self.until && self.until - now <= LONGEST
    }
}

/// How long the issuer asks to wait: `Retry-After` in seconds or as a time (RFC 9110, section 10.2.3).
pub(super) fn retry_after(header: &str, now: OffsetDateTime) -> Option<StdDuration> {
    if let Ok(seconds) = header.trim().parse() {
        return Some(StdDuration::from_secs(seconds));
    }
    let at = OffsetDateTime::parse(header.trim(), &Rfc2822).ok()?;
    (at - now).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-01-31 12:00 UTC);

    fn refused() -> ProviderError {
        ProviderError::Refused { issuer: "the issuer".to_owned(), words: "no".to_owned() }
    }

    fn unavailable(retry_after: Option<u64>) -> ProviderError {
        let retry_after = retry_after.map(StdDuration::from_secs);
        ProviderError::Unavailable { issuer: "the issuer".to_owned(), words: "later".to_owned(), retry_after }
    }

    #[test]
    fn rests_grow_with_refusals_and_stay_brief_for_what_passes() {
        let timed_out = ProviderError::TimedOut { issuer: "the issuer".to_owned(), seconds: 20 };
        let unreachable = ProviderError::Unreachable { issuer: "the issuer".to_owned(), words: "no route".to_owned() };
        let unusable = ProviderError::Unusable { issuer: "the issuer".to_owned(), words: "html".to_owned() };
        let cases = [
            ("refused, and refused again", vec![refused(); 7], vec![5, 10, 20, 40, 80, 120, 120]),
            ("no token in it", vec![unusable.clone(), unusable], vec![5, 10]),
            ("away", vec![unreachable.clone(), timed_out.clone(), unreachable], vec![1, 1, 1]),
            ("an outage between refusals", vec![refused(), timed_out, refused()], vec![5, 1, 10]),
            ("down, without a word", vec![unavailable(None); 2], vec![1, 1]),
            ("for as long as it asks", vec![unavailable(Some(30)), unavailable(Some(0))], vec![30, 1]),
            (
                "not for as long as it likes",
                vec![unavailable(Some(86_400)), unavailable(Some(u64::MAX))],
                vec![120, 120],
            ),
        ];
        for (name, errors, expected) in cases {
            let mut rest: Option<Rest> = None;
            for (error, seconds) in errors.iter().zip(expected) {
                let next = Rest::after(error, rest.as_ref(), NOW);
                assert_eq!(next.until - NOW, Duration::seconds(seconds), "{name}: {error}");
                rest = Some(next);
            }
        }
        let mut rest = Rest::after(&refused(), None, NOW);
        (0..1000).for_each(|_| rest = Rest::after(&refused(), Some(&rest), NOW));
        assert_eq!(rest.until - NOW, LONGEST);
    }

    #[test]
    fn what_is_told_meanwhile_says_of_when_it_is() {
        let rest = Rest::after(&refused(), None, NOW);
        let after = |seconds: i64| NOW + Duration::seconds(seconds);
        let told = rest.told(after(3)).unwrap();
        let words = "the issuer: no; check the keys and what they are allowed \
                     (that was 3 s ago; it is not asked again for another 2 s)";
        assert_eq!((told.to_string().as_str(), told.is_passing()), (words, false));
        assert_eq!(rest.told(after(5)), None);
        assert!(rest.told(after(-60)).is_some(), "a clock that goes back breaks nothing");
        assert!(rest.told(after(-3600)).is_none() && rest.lets_replace(after(-3600)), "nor does it prolong a rest");
        let replaced: Vec<bool> = [0, 5, 9, 10].into_iter().map(|seconds| rest.lets_replace(after(seconds))).collect();
        assert_eq!(replaced, [false, false, false, true]);
        assert!(rest.is_remembered(after(124)) && !rest.is_remembered(after(125)));
        let passing = Rest::after(&unavailable(Some(60)), None, NOW);
        assert!(passing.told(NOW).unwrap().is_passing() && !passing.lets_replace(after(59)));
    }

    #[test]
    fn how_long_an_issuer_asks_to_wait() {
        let cases = [
            ("30", Some(30)),
            (" 0 ", Some(0)),
            ("Sat, 31 Jan 2026 12:01:00 GMT", Some(60)),
            ("Sat, 31 Jan 2026 11:00:00 GMT", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (header, expected) in cases {
            assert_eq!(retry_after(header, NOW), expected.map(StdDuration::from_secs), "{header}");
        }
    }
}
