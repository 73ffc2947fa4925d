//! Tokens that were made while everything runs: the log holds a hash of each one's hash.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};
use waybill_platform::{
    chain,
    identity::recorded_hash,
    log::{Log, LogError, RawMessage},
    trace,
};
use waybill_schemas::{
    Event, Filter, Timestamp, covers,
    v1::{TokenCreated, TokenRole},
};

use super::Holder;
use crate::feed::Feed;

/// Between two looks at the log while the feed cannot say what is new.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks where the feed says nothing of tokens.
const UNTOLD: Duration = Duration::from_secs(5);
/// Most tokens, those that were revoked included.
const MOST: usize = 200_000;

/// Tokens that the log names, by what it holds of each. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded(Arc<RwLock<BTreeMap<String, Arc<Known>>>>);

/// A token of the log.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) token: TokenCreated,
    /// When this gateway took it last, since it started.
    last_used: Mutex<Option<Timestamp>>,
}

impl Known {
    /// When this gateway took the token last, since it started.
    pub(crate) fn last_used(&self) -> Option<Timestamp> {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None for a join token, which opens nothing here.
    fn holder(&self) -> Option<Holder> {
        let TokenCreated { token_id, roles, workspaces, .. } = &self.token;
        let is_join = roles.contains(&TokenRole::Join);
        (!is_join).then(|| Holder::new(workspaces.iter().cloned(), Some(token_id.to_string()), roles.clone()))
    }
}

impl Recorded {
    /// Who holds the token with a SHA-256, if the log names it and it has not ended.
    pub(super) fn holder(&self, digest: [u8; 32]) -> Option<Holder> {
        let proof: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&recorded_hash(&proof)).cloned()?;
        let now = trace::now();
        if known.token.ends_at.is_some_and(|end| end <= now) {
            return None;
        }
        *known.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        known.holder()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Known>> {
        let mut all: Vec<_> = self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_by(|a, b| a.token.token_id.cmp(&b.token.token_id));
        all
    }

    /// Follows the log for ever: looks whenever the feed has news of a token.
    pub(crate) async fn follow(self, log: Arc<dyn Log>, feed: Arc<Feed>) {
        let (mut read, mut told, mut news) = (None, 0, feed.listen());
        loop {
            // What was known goes on: a log that is away takes no events either.
            let looked = self.refresh(log.as_ref(), &mut read).await;
            if let Err(error) = &looked {
                tracing::debug!(error = chain(error), "tokens cannot be looked at");
            }
            // Another replica may not have yet what the feed was given.
            if looked.is_err() || !feed.is_complete() || read < Some(told) {
                sleep(LOOK).await;
                continue;
            }
            tokio::select! {
                sequence = until_news_of_tokens(&mut news) => told = sequence,
                () = sleep(UNTOLD) => {}
            }
        }
    }

    /// Reads every token again if one changed since the sequence that was `read`.
    pub(crate) async fn refresh(&self, log: &dyn Log, read: &mut Option<u64>) -> Result<(), LogError> {
        let newest = log.last_matching(&Filter::Tokens).await?.map_or(0, |last| last.sequence);
        if *read == Some(newest) {
            return Ok(());
        }
        let lasts = log.lasts(&Filter::Tokens, MOST).await?.messages;
        let created = lasts.iter().filter_map(|last| match last.decode().ok()?.event {
            Event::TokenCreated(token) => Some(token),
            _ => None,
        });
        self.replace(created);
        *read = lasts.iter().map(|last| last.sequence).max().or(Some(0));
        Ok(())
    }

    /// Takes these and no others. What is known of the use of one that stays is kept.
    fn replace(&self, tokens: impl IntoIterator<Item = TokenCreated>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known);
        for token in tokens {
            let kept = before.remove(&token.hash).filter(|kept| kept.token == token);
            let hash = token.hash.clone();
            known.insert(hash, kept.unwrap_or_else(|| Arc::new(Known { token, last_used: Mutex::default() })));
        }
    }
}

/// Waits for a message about a token, whose sequence it returns, or for so many messages that one may have been missed: 0.
async fn until_news_of_tokens(news: &mut broadcast::Receiver<Arc<RawMessage>>) -> u64 {
    let tokens = Filter::Tokens.to_string();
    loop {
        match news.recv().await {
            Ok(message) if !covers(&tokens, &message.subject) => {}
            Ok(message) => return message.sequence,
            Err(RecvError::Lagged(_)) => return 0,
            // The gateway stops.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;
    use waybill_domain::credentials::Secret;
    use waybill_platform::{
        identity::proof,
        log::{Expect, NewEvent},
        testing::MemoryLog,
    };
    use waybill_schemas::{Envelope, Subject, Uuid, v1::TokenRevoked};

    use super::{
        super::{Tokens, hash},
        *,
    };
    use crate::feed::{Advance, Reading};

    fn token(name: &str, text: &str, workspaces: &[&str]) -> TokenCreated {
        TokenCreated {
            token_id: name.parse().unwrap(),
            roles: vec![TokenRole::Builder],
            hash: recorded_hash(&proof(&Secret::new(text))),
            workspaces: workspaces.iter().map(|name| name.parse().unwrap()).collect(),
            ends_at: None,
            uses: None,
            worker_prefix: None,
        }
    }

    async fn append(log: &MemoryLog, name: &str, event: impl Into<Event>) {
        let subject = Subject::Token { token_id: name.parse().unwrap() };
        let new = NewEvent { subject, envelope: Envelope::new(Uuid::new_v4(), "/test"), event: event.into() };
        log.append(&new, Expect::Anything, None).await.unwrap();
    }

    #[tokio::test]
    async fn tokens_come_and_go_with_the_log() {
        let (log, tokens, mut read) = (MemoryLog::new(), Tokens::default(), None);
        let recorded = tokens.recorded();
        recorded.refresh(&log, &mut read).await.unwrap();
        assert!(tokens.holder("one").is_none());
        append(&log, "ci", token("ci", "one", &["acme"])).await;
        append(&log, "all", token("all", "every", &[])).await;
        append(&log, "two", token("two", "both", &["acme", "other"])).await;
        let join = TokenCreated { roles: vec![TokenRole::Join], ..token("join", "join", &[]) };
        append(&log, "join", join).await;
        let ended =
            TokenCreated { ends_at: Some("2001-01-01T00:00:00Z".parse().unwrap()), ..token("old", "past", &[]) };
        append(&log, "old", ended).await;
        recorded.refresh(&log, &mut read).await.unwrap();
        let holder = tokens.holder("one").unwrap();
        assert_eq!(holder.actor(), "token/acme/ci");
        assert!(holder.may(TokenRole::Builder) && !holder.may(TokenRole::Reader));
        assert!(holder.opens(&"acme".parse().unwrap()) && !holder.opens(&"other".parse().unwrap()));
        assert_eq!(tokens.holder_by_hash(&hash("one")), Some(holder), "a session keeps its hash");
        assert_eq!(tokens.holder("every").unwrap().actor(), "operator/all");
        let both = tokens.holder("both").unwrap();
        let [acme, other, third] = ["acme", "other", "third"].map(|name| name.parse().unwrap());
        assert!(both.opens(&acme) && both.opens(&other) && !both.opens(&third));
        assert_eq!((both.actor().as_str(), both.workspace()), ("token/acme+1/two", Some(&acme)));
        assert_eq!(both.workspace_of(Some(&other)), Some(other.clone()));
        assert_eq!(both.workspace_of(Some(&third)), Some(acme.clone()), "what is only claimed");
        let chosen = both.clone().choose("other");
        assert_eq!((chosen.actor(), chosen.workspace()), (both.actor(), Some(&other)));
        assert_eq!(both.clone().choose("third"), both);
        assert_eq!(tokens.holder("every").unwrap().choose("acme").workspace(), None);
        for (text, why) in [("join", "a join token"), ("past", "it has ended"), ("no", "unknown")] {
            assert!(tokens.holder(text).is_none(), "{why}");
        }
        assert!(tokens.holder(&token("ci", "one", &[]).hash).is_none(), "what the log holds opens nothing");
        append(&log, "late", token("late", "late", &[])).await;
        recorded.refresh(&log, &mut read).await.unwrap();
        let all = recorded.all();
        let used: Vec<&str> =
            all.iter().filter(|known| known.last_used().is_some()).map(|k| k.token.token_id.as_str()).collect();
        assert_eq!(used, ["all", "ci", "join", "two"], "what is known of their use is kept");
        let revoked = TokenRevoked { token_id: "ci".parse().unwrap(), hash: token("ci", "one", &[]).hash };
        append(&log, "ci", revoked).await;
        recorded.refresh(&log, &mut read).await.unwrap();
        assert!(tokens.holder("one").is_none() && tokens.holder("late").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn news_of_a_token_is_looked_at_without_asking_all_the_time() {
        let (log, tokens) = (MemoryLog::new(), Tokens::default());
        let feed = Arc::new(Feed::new(Arc::new(log.clone()), CancellationToken::new()));
        let mut reading = Reading::default();
        while feed.advance(&mut reading).await.unwrap() != Advance::AtEnd {}
        let following = tokio::spawn(tokens.recorded().clone().follow(Arc::new(log.clone()), feed.clone()));
        // It has looked once, and waits for news now.
        sleep(LOOK).await;
        let before = Instant::now();
        append(&log, "ci", token("ci", "one", &["acme"])).await;
        feed.advance(&mut reading).await.unwrap();
        while tokens.holder("one").is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(before.elapsed() < LOOK, "only the look without news came, after {:?}", before.elapsed());
        following.abort();
    }
}
