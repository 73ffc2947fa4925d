//! Tokens under many who ask at once.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use waybill_domain::credentials::Secret;

use super::*;

/// Issues numbered tokens; each answer needs a permit.
struct Fake {
    life: Duration,
    calls: AtomicUsize,
    gate: Semaphore,
    fail: AtomicUsize,
}

impl Fake {
    fn source(life: Duration) -> Arc<TokenSource<Fake>> {
        let fake = Self { life, calls: AtomicUsize::new(0), gate: Semaphore::new(0), fail: AtomicUsize::new(0) };
        Arc::new(TokenSource::new(fake, |_, _| {}))
    }
}

fn refused() -> ProviderError {
    ProviderError::Refused { issuer: "fake".to_owned(), words: "no".to_owned() }
}

impl Fake {
    async fn ask(&self) -> Result<Token, ProviderError> {
        let number = self.calls.fetch_add(1, SeqCst) + 1;
        self.gate.acquire().await.unwrap().forget();
        match self.fail.load(SeqCst) {
            0 => {}
            1 => return Err(refused()),
            _ => panic!("as if there were a bug"),
        }
        let now = OffsetDateTime::now_utc();
        let login = BasicLogin { username: "AWS".to_owned(), password: Secret::from(format!("token-{number}")) };
        // A negative life is one whose end is past when it is issued; an ageing one was issued long ago.
        let issued_at = if self.life == Duration::minutes(4) { now - Duration::hours(12) } else { now };
        Ok(Token { login, issued_at, expires_at: now + self.life })
    }
}

impl Exchange for Fake {
    fn exchange(&self) -> BoxFuture<'_, Result<Token, ProviderError>> {
        self.ask().boxed()
    }

    fn issuer(&self) -> String {
        "fake".to_owned()
    }

    fn cred_type(&self) -> CredType {
        CredType::Aws
    }
}

/// Asks that many times at once, and lets the issuer answer when all are waiting.
async fn ask(source: &Arc<TokenSource<Fake>>, count: usize) -> Vec<Result<String, ProviderError>> {
    let asked = join_all((0..count).map(|_| source.token()));
    // All are polled before this is.
    let answer = async {
        tokio::task::yield_now().await;
        source.exchange.gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(biased; asked, answer);
    answers.into_iter().map(|answer| answer.map(|(token, _)| token.login.password.expose().to_owned())).collect()
}

#[tokio::test]
async fn many_share_one_exchange_even_of_a_token_whose_end_is_past() {
    for life in [Duration::hours(12), Duration::days(-4000)] {
        let source = Fake::source(life);
        for answer in ask(&source, 100).await {
            assert_eq!(answer.unwrap(), "token-1", "life {life}");
        }
        assert_eq!(source.exchange.calls.load(SeqCst), 1, "life {life}");
        source.exchange.gate.add_permits(1);
        let next = source.token().await.unwrap();
        let expected = if life.is_positive() { ("token-1", true) } else { ("token-2", false) };
        assert_eq!((next.0.login.password.expose(), next.1), expected);
    }
}

#[tokio::test]
async fn many_share_one_failure_and_the_next_ones_are_told_of_it_until_its_rest_is_over() {
    let source = Fake::source(Duration::hours(1));
    for (number, fail) in [1, 2].into_iter().enumerate() {
        source.exchange.fail.store(fail, SeqCst);
        for answer in ask(&source, 50).await {
            let error = answer.unwrap_err();
            assert!(!matches!(error, ProviderError::Kept { .. }), "{error}");
        }
        for _ in 0..50 {
            let error = source.token().await.unwrap_err();
            assert!(matches!(error, ProviderError::Kept { .. }), "{error}");
        }
        assert_eq!(source.exchange.calls.load(SeqCst), number + 1);
        assert!(source.is_resting() && !source.is_live());
        source.lock_state().rest = Some(failed(Duration::minutes(1)));
    }
    source.exchange.fail.store(0, SeqCst);
    source.exchange.gate.add_permits(2);
    let (token, _) = source.token().await.unwrap();
    assert_eq!((token.login.password.expose(), source.is_resting()), ("token-3", false), "a success ends it");
    source.forget(&token.login);
    assert!(source.token().await.is_ok());
}

/// Whoever asks first, whose exchange has begun.
async fn under_way(source: &Arc<TokenSource<Fake>>) -> tokio::task::JoinHandle<Result<(), ProviderError>> {
    let asked = tokio::spawn({
        let source = source.clone();
        async move { source.token().await.map(drop) }
    });
    while source.exchange.calls.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    asked
}

/// A refusal that lies this far back.
fn failed(ago: Duration) -> Rest {
    Rest::after(&refused(), None, OffsetDateTime::now_utc() - ago)
}

#[tokio::test]
async fn whoever_asks_during_a_rest_waits_for_an_exchange_that_is_under_way() {
    let source = Fake::source(Duration::hours(1));
    let first = under_way(&source).await;
    source.lock_state().rest = Some(failed(Duration::ZERO));
    assert_eq!(ask(&source, 1).await.remove(0).unwrap(), "token-1");
    assert!(first.await.unwrap().is_ok());
}

#[tokio::test]
async fn keys_that_are_no_good_in_themselves_rest_nobody() {
    let source = Fake::source(Duration::hours(1));
    source.record_outcome(&Err(ProviderError::Keys { words: "no key".to_owned() }));
    assert!(!source.is_resting());
}

#[tokio::test]
async fn an_exchange_outlives_whoever_began_it() {
    let source = Fake::source(Duration::hours(1));
    let first = under_way(&source).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    source.exchange.gate.add_permits(1);
    let (token, _) = source.token().await.unwrap();
    assert_eq!((token.login.password.expose(), source.exchange.calls.load(SeqCst)), ("token-1", 1));
}

#[tokio::test]
async fn an_ageing_token_is_used_while_one_request_replaces_it() {
    let source = Fake::source(Duration::minutes(4));
    source.exchange.gate.add_permits(1);
    assert!(!source.token().await.unwrap().1);
    for _ in 0..20 {
        let (token, from_before) = source.token().await.unwrap();
        assert_eq!((token.login.password.expose(), from_before), ("token-1", true));
        tokio::task::yield_now().await;
    }
    assert_eq!(source.exchange.calls.load(SeqCst), 2, "one replacement is under way");
    source.exchange.fail.store(1, SeqCst);
    source.exchange.gate.add_permits(1);
    while source.lock_state().flight.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.token().await.unwrap().0.login.password.expose(), "token-1", "a failure costs nothing yet");
    assert_eq!(source.exchange.calls.load(SeqCst), 2, "the issuer is left alone for a while");
}

/// A token of twelve hours, with this much of them left.
fn held(left: Duration) -> Token {
    let expires_at = OffsetDateTime::now_utc() + left;
    let login = BasicLogin { username: "AWS".to_owned(), password: Secret::from("held") };
    Token { login, issued_at: expires_at - Duration::hours(12), expires_at }
}

#[tokio::test]
async fn what_is_held_and_when_it_last_failed_decide_whether_the_issuer_is_asked() {
    let (fresh, ageing, expired) = (Duration::hours(6), Duration::minutes(4), Duration::seconds(-1));
    let (resting, rested) = (Duration::ZERO, Duration::minutes(1));
    // The rest after the first refusal is over, but there is no hurry.
    let hardly = Duration::seconds(6);
    let cases = [
        ("nothing held", None, None, 1, "token-1"),
        ("nothing held, and it failed a moment ago", None, Some(resting), 0, "refused"),
        ("nothing held, and it failed a while ago", None, Some(rested), 1, "token-1"),
        ("nothing held, and it failed six seconds ago", None, Some(hardly), 1, "token-1"),
        ("fresh", Some(fresh), None, 0, "held"),
        ("fresh, and it failed a moment ago", Some(fresh), Some(resting), 0, "held"),
        ("ageing", Some(ageing), None, 1, "held"),
        ("ageing, and it failed a moment ago", Some(ageing), Some(resting), 0, "held"),
        ("ageing, and it failed six seconds ago", Some(ageing), Some(hardly), 0, "held"),
        ("ageing, and it failed a while ago", Some(ageing), Some(rested), 1, "held"),
        ("expired", Some(expired), None, 1, "token-1"),
        ("expired, and it failed a moment ago", Some(expired), Some(resting), 0, "refused"),
        ("expired, and it failed a while ago", Some(expired), Some(rested), 1, "token-1"),
    ];
    for (name, left, rest, calls, password) in cases {
        let source = Fake::source(Duration::hours(12));
        source.exchange.gate.add_permits(1);
        *source.lock_state() = State { held: left.map(held), flight: None, rest: rest.map(failed) };
        match source.token().await {
            Ok((token, from_before)) => {
                assert_eq!((token.login.password.expose(), from_before), (password, password == "held"), "{name}");
            }
            Err(error) => {
                let told = matches!(error, ProviderError::Kept { .. }) && password == "refused";
                assert!(told && source.exchange.calls.load(SeqCst) == 0, "{name}: {error}");
                continue;
            }
        }
        while source.lock_state().flight.is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(source.exchange.calls.load(SeqCst), calls, "{name}");
        // What was had is used from then on, and a success ends the rest.
        let (next, from_before) = source.token().await.unwrap();
        let expected = if calls == 0 { "held" } else { "token-1" };
        assert_eq!((next.login.password.expose(), from_before), (expected, true), "{name}");
        assert_eq!(source.lock_state().rest.is_some(), rest.is_some() && calls == 0, "{name}");
    }
}

#[tokio::test]
async fn whoever_was_refused_waits_for_the_replacement_that_is_under_way() {
    let source = Fake::source(Duration::hours(12));
    source.lock_state().held = Some(held(Duration::minutes(4)));
    let (token, _) = source.token().await.unwrap();
    source.forget(&token.login);
    for answer in ask(&source, 10).await {
        assert_eq!(answer.unwrap(), "token-1");
    }
    assert_eq!(source.exchange.calls.load(SeqCst), 1, "one exchange for both");
}

#[tokio::test]
async fn only_the_refused_token_is_forgotten() {
    let source = Fake::source(Duration::hours(1));
    source.exchange.gate.add_permits(2);
    let (first, _) = source.token().await.unwrap();
    source.forget(&first.login);
    assert!(!source.is_live());
    let (second, _) = source.token().await.unwrap();
    assert_eq!(second.login.password.expose(), "token-2");
    source.forget(&first.login);
    assert!(source.is_live() && source.token().await.unwrap().1, "the refusal of an old one changes nothing");
}

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
