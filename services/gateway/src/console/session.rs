//! Signing in with a token, and what a browser holds afterwards: a cookie that scripts cannot read, and not the token.
//!
//! The cookie names the token by its hash, ends by itself, and carries a MAC by the key that all gateways of a log share: any
//! of them reads it, and a token that is taken away ends the sessions that it began.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use axum::http::{HeaderMap, header, uri::Authority};
use uuid::Uuid;
use waybill_platform::{sealing::HashKey, trace};
use waybill_schemas::WorkspaceId;

use crate::tokens::{self, Holder, Tokens};

/// How long a session lasts, in seconds.
const LENGTH: i64 = 12 * 60 * 60;
const COOKIE: &str = "waybill_session";
/// Keeps these MACs apart from those of credentials and accounts, which the same key makes.
const PURPOSE: &str = "waybill console session";
/// Most sessions that are remembered as ended; each is forgotten once its cookie has run out.
const MOST_ENDED: usize = 10_000;

/// What a cookie says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// Hash of the token.
    token: String,
    /// When it ends, in seconds since 1970.
    ends: i64,
    /// Tells sessions of one token apart.
    id: String,
}

impl Session {
    /// A new session of a token.
    pub(super) fn begin(token: &str) -> Self {
        Self {
            token: tokens::hash(token),
            ends: unix_now().saturating_add(LENGTH),
            id: Uuid::new_v4().simple().to_string(),
        }
    }

    fn claims(&self) -> String {
        format!("{}.{}.{}", self.token, self.ends, self.id)
    }

    fn seal(&self, key: &HashKey) -> String {
        let claims = self.claims();
        let mac = key.mac(format!("{PURPOSE}\n{claims}").as_bytes());
        format!("{claims}.{mac}")
    }

    /// The session of a cookie's value, if this log's gateways made it and it has not run out.
    fn open(value: &str, key: &HashKey, now: i64) -> Option<Self> {
        let (claims, mac) = value.rsplit_once('.')?;
        if !key.matches(format!("{PURPOSE}\n{claims}").as_bytes(), mac) {
            return None;
        }
        let [token, ends, id] = *claims.split('.').collect::<Vec<_>>() else { return None };
        let session = Self { token: token.to_owned(), ends: ends.parse().ok()?, id: id.to_owned() };
        (session.ends > now).then_some(session)
    }

    /// The header that hands the session to the browser. Browsers keep a secure cookie from connections without TLS.
    pub(super) fn set_cookie(&self, key: &HashKey, secure: bool) -> String {
        format_cookie(COOKIE, &self.seal(key), LENGTH, secure)
    }
}

/// The header that takes the session from the browser.
pub(super) fn clear_cookie() -> String {
    format_cookie(COOKIE, "", 0, false)
}

fn format_cookie(name: &str, value: &str, seconds: i64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// Sessions that were signed out of here, until they would have ended: a copied cookie is worth nothing afterwards.
#[derive(Debug, Default)]
pub(crate) struct Ended(Mutex<BTreeMap<String, i64>>);

impl Ended {
    pub(super) fn add(&self, session: &Session) {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = unix_now();
        ended.retain(|_, ends| *ends > now);
        if ended.len() < MOST_ENDED {
            ended.insert(session.id.clone(), session.ends);
        }
    }

    fn holds(&self, session: &Session) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&session.id)
    }
}

/// The session that a request comes with, and who holds its token.
pub(super) fn find_session(
    headers: &HeaderMap,
    key: &HashKey,
    tokens: &Tokens,
    ended: &Ended,
) -> Option<(Session, Holder)> {
    let session = Session::open(&read_cookie(headers, COOKIE)?, key, unix_now())?;
    let holder = tokens.holder_by_hash(&session.token)?;
    (!ended.holds(&session)).then_some((session, holder))
}

fn read_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// True if a form was sent by a page of this origin: what the browser says of the sender must be the host that it asked.
///
/// `SameSite=Strict` keeps the cookie from other sites, but not from another port of the same host.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    let asked: Option<Authority> = text(header::HOST).and_then(|host| host.parse().ok());
    origin.zip(asked).is_some_and(|((_, from), asked)| from == asked.as_str())
}

/// True if the browser came by TLS, which ends before the gateway.
pub(super) fn is_secure(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

/// Light, dark, or what the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

const THEME_COOKIE: &str = "waybill_theme";
/// How long a choice is kept, in seconds: a year.
const CHOICE_LENGTH: i64 = 365 * 24 * 60 * 60;

impl Theme {
    pub(super) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|theme| theme.as_str() == text).unwrap_or_default()
    }

    /// The choice that a browser made before.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        read_cookie(headers, THEME_COOKIE).map_or(Self::System, |text| Self::parse(&text))
    }

    pub(super) fn set_cookie(self) -> String {
        format_cookie(THEME_COOKIE, self.as_str(), CHOICE_LENGTH, false)
    }
}

const WORKSPACE_COOKIE: &str = "waybill_workspace";

/// The workspace that a browser chose of those that its token opens.
pub(super) fn chosen_workspace(headers: &HeaderMap) -> Option<String> {
    read_cookie(headers, WORKSPACE_COOKIE)
}

/// The header that has the browser keep a choice. It opens nothing: the token does.
pub(super) fn choose_workspace(chosen: &WorkspaceId) -> String {
    format_cookie(WORKSPACE_COOKIE, chosen.as_str(), CHOICE_LENGTH, false)
}

fn unix_now() -> i64 {
    trace::now().instant().unix_timestamp()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key() -> HashKey {
        HashKey::from_hex(&HashKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_cookie_counts_only_as_it_was_made() {
        let (one, other) = (key(), key());
        let session = Session::begin("canary-token");
        let sealed = session.seal(&one);
        assert!(!sealed.contains("canary"), "the cookie holds no token");
        let later = session.claims().replace(&session.ends.to_string(), &(session.ends + 1).to_string());
        let mac = sealed.rsplit_once('.').unwrap().1;
        let cases = [
            ("as it was made", sealed.clone(), &one, 0, true),
            ("another gateway's key", sealed.clone(), &other, 0, false),
            ("longer than it was given", format!("{later}.{mac}"), &one, 0, false),
            ("run out", sealed.clone(), &one, session.ends, false),
            ("cut", sealed[..sealed.len() - 1].to_owned(), &one, 0, false),
            ("without a MAC", session.claims(), &one, 0, false),
            ("nothing", String::new(), &one, 0, false),
            (
                "a MAC of another purpose",
                format!("{}.{}", session.claims(), one.mac(session.claims().as_bytes())),
                &one,
                0,
                false,
            ),
        ];
        for (name, value, key, now, counts) in cases {
            assert_eq!(Session::open(&value, key, now), counts.then(|| session.clone()), "{name}");
        }
    }

    #[test]
    fn a_session_ends_with_its_token_and_when_it_is_signed_out_of() {
        let (key, ended) = (key(), Ended::default());
        let tokens: Tokens = format!("acme {}", tokens::hash("one")).parse().unwrap();
        let with = |session: &Session| {
            let pairs = format!("other=1; {COOKIE}={}", session.seal(&key));
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&pairs).unwrap())])
        };
        let (session, unknown) = (Session::begin("one"), Session::begin("two"));
        assert_eq!(find_session(&with(&session), &key, &tokens, &ended).unwrap().1.actor(), "token/acme");
        assert!(find_session(&with(&unknown), &key, &tokens, &ended).is_none(), "no such token any more");
        ended.add(&session);
        assert!(find_session(&with(&session), &key, &tokens, &ended).is_none(), "signed out");
        assert!(
            find_session(&with(&Session::begin("one")), &key, &tokens, &ended).is_some(),
            "another one of the same token"
        );
    }

    #[test]
    fn only_a_page_of_the_same_origin_may_send_a_form() {
        let cases = [
            (Some("http://127.0.0.1:8484"), Some("127.0.0.1:8484"), true),
            (Some("https://waybill.example"), Some("waybill.example"), true),
            (Some("http://127.0.0.1:9999"), Some("127.0.0.1:8484"), false),
            (Some("https://evil.example"), Some("waybill.example"), false),
            (Some("null"), Some("waybill.example"), false),
            (None, Some("waybill.example"), false),
            (Some("https://waybill.example"), None, false),
        ];
        for (origin, host, may) in cases {
            let pairs = [(header::ORIGIN, origin), (header::HOST, host)];
            let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_static(value?))));
            assert_eq!(is_same_origin(&pairs.collect()), may, "{origin:?} {host:?}");
        }
    }
}
