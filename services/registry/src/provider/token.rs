//! One token for many: held until its end, replaced ahead of it, and exchanged by one request at a time.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use time::{Duration, OffsetDateTime};
use tracing::Instrument as _;
use waybill_domain::credentials::BasicLogin;
use waybill_schemas::{Timestamp, v1::CredType};

use super::{ProviderError, rest::Rest};

/// A token is replaced this long before its end, or a tenth of its life if that is shorter.
const AHEAD: Duration = Duration::minutes(5);
/// A token is not used this close to its end: the pull would outlive it.
const TOO_LATE: Duration = Duration::seconds(15);

/// What to do with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and get the next one meanwhile.
    Ageing,
    /// Do not use it.
    Expired,
}

/// Judges a token issued and expiring at these times. One that was issued with an end in the past is expired from the start.
fn freshness(issued: OffsetDateTime, expires: OffsetDateTime, now: OffsetDateTime) -> Freshness {
    let life = expires - issued;
    let left = expires - now;
    if left <= TOO_LATE.min(life / 20).max(Duration::ZERO) {
        return Freshness::Expired;
    }
    if left <= AHEAD.min(life / 10) { Freshness::Ageing } else { Freshness::Fresh }
}

/// A token and its true expiry.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) login: BasicLogin,
    pub(super) issued_at: OffsetDateTime,
    pub(super) expires_at: OffsetDateTime,
}

impl Token {
    fn freshness(&self) -> Freshness {
        freshness(self.issued_at, self.expires_at, OffsetDateTime::now_utc())
    }
}

/// Told of each exchange: the kind of the credentials, and the token's end where there is one. Metrics are made of it.
pub type Observer = fn(CredType, Option<Timestamp>);

/// Gets a token from its issuer.
pub(super) trait Exchange: Send + Sync + 'static {
    /// One exchange, bounded in time.
    fn exchange(&self) -> BoxFuture<'_, Result<Token, ProviderError>>;
    /// Who issues, for errors.
    fn issuer(&self) -> String;
    /// Kind of the credentials that are exchanged.
    fn cred_type(&self) -> CredType;
}

impl Exchange for Box<dyn Exchange> {
    fn exchange(&self) -> BoxFuture<'_, Result<Token, ProviderError>> {
        (**self).exchange()
    }

    fn issuer(&self) -> String {
        (**self).issuer()
    }

    fn cred_type(&self) -> CredType {
        (**self).cred_type()
    }
}

/// The token of one set of keys.
pub(super) struct TokenSource<E> {
    exchange: E,
    observer: Observer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Token>,
    flight: Option<Flight>,
    /// After an attempt that came to nothing. It counts until a token is had, also when it is over.
    rest: Option<Rest>,
}

/// An exchange under way, and all who wait for it.
type Flight = Shared<BoxFuture<'static, Result<Token, ProviderError>>>;

impl<E> fmt::Debug for TokenSource<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").finish_non_exhaustive()
    }
}

impl<E: Exchange> TokenSource<E> {
    pub(super) fn new(exchange: E, observer: Observer) -> Self {
        Self { exchange, observer, state: Mutex::default() }
    }

    /// A token that works now, and whether it is one from before this call. While the issuer is left alone, what it said.
    pub(super) async fn token(self: &Arc<Self>) -> Result<(Token, bool), ProviderError> {
        let flight = {
            let mut state = self.lock_state();
            if let Some(token) = state.held.clone() {
                match token.freshness() {
                    Freshness::Fresh => return Ok((token, true)),
                    Freshness::Ageing => {
                        self.replace_ahead(&mut state);
                        return Ok((token, true));
                    }
                    Freshness::Expired => {}
                }
            }
            let resting = || state.rest.as_ref().and_then(|rest| rest.told(OffsetDateTime::now_utc()));
            if let (None, Some(kept)) = (&state.flight, resting()) {
                return Err(kept);
            }
            self.join_exchange(&mut state)
        };
        // What has just been issued is used, whatever it says of its end; the next one who asks judges it by that.
        flight.await.map(|token| (token, false))
    }

    /// Forgets a token that the registry refused, unless it was replaced meanwhile.
    pub(super) fn forget(&self, refused: &BasicLogin) {
        let mut state = self.lock_state();
        if state.held.as_ref().is_some_and(|token| token.login == *refused) {
            state.held = None;
        }
    }

    /// Whether it holds a token that still works.
    pub(super) fn is_live(&self) -> bool {
        self.lock_state().held.as_ref().is_some_and(|token| token.freshness() != Freshness::Expired)
    }

    /// Whether it knows of refusals that the next one who asks must not repeat too soon.
    pub(super) fn is_resting(&self) -> bool {
        self.lock_state().rest.as_ref().is_some_and(|rest| rest.is_remembered(OffsetDateTime::now_utc()))
    }

    fn replace_ahead(self: &Arc<Self>, state: &mut State) {
        if state.rest.as_ref().is_none_or(|rest| rest.lets_replace(OffsetDateTime::now_utc())) {
            drop(self.join_exchange(state));
        }
    }

    /// The exchange under way, or a new one. It runs on its own: whoever asked first may be gone before the answer comes.
    fn join_exchange(self: &Arc<Self>, state: &mut State) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let source = self.clone();
        let exchange = async move {
            let outcome = AssertUnwindSafe(source.exchange.exchange()).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| {
                let words = "the exchange ended badly".to_owned();
                Err(ProviderError::Unusable { issuer: source.exchange.issuer(), words })
            });
            source.record_outcome(&outcome);
            outcome
        };
        let flight = exchange.in_current_span().boxed().shared();
        state.flight = Some(flight.clone());
        tokio::spawn(flight.clone());
        flight
    }

    fn record_outcome(&self, outcome: &Result<Token, ProviderError>) {
        let expiry = outcome.as_ref().ok().map(|token| token.expires_at.into());
        (self.observer)(self.exchange.cred_type(), expiry);
        let mut state = self.lock_state();
        state.flight = None;
        match outcome {
            Ok(token) => {
                state.held = Some(token.clone());
                state.rest = None;
            }
            Err(error) => {
                if state.held.as_ref().is_some_and(|token| token.freshness() == Freshness::Ageing) {
                    tracing::warn!(%error, "the next registry token cannot be had yet, keeping the present one");
                }
                // Where the keys themselves are no good, nobody was asked.
                if !matches!(error, ProviderError::Keys { .. }) {
                    state.rest = Some(Rest::after(error, state.rest.as_ref(), OffsetDateTime::now_utc()));
                }
            }
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
