//! Answers a request to the in-process registry, and writes down that it did.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, Request, State as Shared};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::fault::{Answer, Effect};
use super::target::{Endpoint, Target};
use super::tokens::Grant;
use super::{Credential, Scheme, Seen, State, lock};
use crate::login::Login;

/// Who asks, as far as the `Authorization` header says.
enum Caller {
    Nobody,
    User(Login),
    Bearer(String),
    Unreadable,
}

/// Whether a caller may have what it asks for.
enum Verdict {
    Welcome,
    Unauthorized,
    Denied,
}

pub(super) async fn handle(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    let target = Target::parse(request.uri().path());
    let caller = Caller::of(&request);
    let account = caller.account(&state);
    let answer = match state.faults.befall(&target) {
        Some(Effect::Status(status)) => refuse(status),
        Some(Effect::Answer(answer)) => (*answer).into_response(),
        Some(Effect::Redirect(base)) => redirect(&base, request.uri()),
        Some(Effect::Slow(delay)) => {
            tokio::time::sleep(delay).await;
            state.answer(&target, &caller, &request)
        }
        None => state.answer(&target, &caller, &request),
    };
    lock(&state.seen).push(Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        endpoint: target.endpoint,
        credential: caller.credential(),
        account,
        status: answer.status(),
    });
    answer
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl Caller {
    fn of(request: &Request) -> Self {
        let Some(header) = request.headers().get(AUTHORIZATION) else { return Self::Nobody };
        let Some((scheme, value)) = header.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return Self::Unreadable;
        };
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => Login::from_basic(value).map_or(Self::Unreadable, Self::User),
            "bearer" => Self::Bearer(value.trim().to_owned()),
            _ => Self::Unreadable,
        }
    }

    fn credential(&self) -> Credential {
        match self {
            Self::Nobody => Credential::None,
            Self::User(_) => Credential::Basic,
            Self::Bearer(_) => Credential::Bearer,
            Self::Unreadable => Credential::Unreadable,
        }
    }

    fn account(&self, state: &State) -> Option<String> {
        match self {
            Self::User(login) => Some(login.user().to_owned()),
            Self::Bearer(token) => state.tokens.grant(token)?.account,
            Self::Nobody | Self::Unreadable => None,
        }
    }
}

impl State {
    fn answer(&self, target: &Target, caller: &Caller, request: &Request) -> Response {
        if target.endpoint == Endpoint::Token {
            return self.token(caller, request.uri());
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return refuse(StatusCode::METHOD_NOT_ALLOWED);
        }
        match self.judge(target, caller) {
            Verdict::Welcome => self.content(target),
            Verdict::Unauthorized => self.challenge(target),
            Verdict::Denied => refuse(StatusCode::FORBIDDEN),
        }
    }

    fn judge(&self, target: &Target, caller: &Caller) -> Verdict {
        let repository = target.repository.as_deref();
        match (self.scheme, caller) {
            (Scheme::Open, _) => Verdict::Welcome,
            (Scheme::Basic, Caller::User(login)) => match self.accounts.access(login) {
                None => Verdict::Unauthorized,
                Some(access) if repository.is_none_or(|one| access.covers(one)) => Verdict::Welcome,
                Some(_) => Verdict::Denied,
            },
            (Scheme::Bearer(_), Caller::Bearer(token)) => match self.tokens.grant(token) {
                None => Verdict::Unauthorized,
                Some(grant) => grant.opens(repository),
            },
            _ => Verdict::Unauthorized,
        }
    }

    fn content(&self, target: &Target) -> Response {
        let Some(repository) = &target.repository else {
            let found = target.endpoint == Endpoint::Ping;
            return if found { Json(json!({})).into_response() } else { refuse(StatusCode::NOT_FOUND) };
        };
        let key = (repository.clone(), target.name.clone());
        let content = lock(&self.content);
        let found = match target.endpoint {
            Endpoint::Manifest => content.manifests.get(&key).map(|manifest| {
                let digest = ("docker-content-digest", manifest.digest.clone());
                ([(CONTENT_TYPE, manifest.media_type)], [digest], manifest.body.clone()).into_response()
            }),
            _ => content.blobs.get(&key).map(|blob| {
                let digest = ("docker-content-digest", target.name.clone());
                ([(CONTENT_TYPE, "application/octet-stream")], [digest], blob.clone()).into_response()
            }),
        };
        found.unwrap_or_else(|| refuse(StatusCode::NOT_FOUND))
    }

    /// 401 with a `Www-Authenticate` that says how to log in.
    fn challenge(&self, target: &Target) -> Response {
        let how = match self.scheme {
            Scheme::Open | Scheme::Basic => r#"Basic realm="waybill-tests""#.to_owned(),
            Scheme::Bearer(_) => {
                let scope = target.repository.as_deref().map(|one| format!(r#",scope="repository:{one}:pull""#));
                let realm = lock(&self.realm).clone();
                format!(r#"Bearer realm="{realm}",service="waybill-tests"{}"#, scope.unwrap_or_default())
            }
        };
        ([(WWW_AUTHENTICATE, how)], refuse(StatusCode::UNAUTHORIZED)).into_response()
    }

    /// Issues a token for what the scopes in the query name and the account may have.
    fn token(&self, caller: &Caller, uri: &Uri) -> Response {
        let access = match caller {
            Caller::Nobody => None,
            Caller::User(login) => match self.accounts.access(login) {
                Some(access) => Some(access),
                None => return refuse(StatusCode::UNAUTHORIZED),
            },
            Caller::Bearer(_) | Caller::Unreadable => return refuse(StatusCode::UNAUTHORIZED),
        };
        let covered = |one: &String| access.as_ref().is_some_and(|access| access.covers(one));
        let (granted, refused) = repositories(uri).into_iter().partition(covered);
        let token = self.tokens.issue(Grant { account: caller.account(self), granted, refused });
        let lifetime = self.tokens.lifetime().as_secs();
        Json(json!({ "token": token, "access_token": token, "expires_in": lifetime })).into_response()
    }
}

impl Grant {
    fn opens(&self, repository: Option<&str>) -> Verdict {
        match repository {
            None => Verdict::Welcome,
            Some(one) if self.granted.contains(one) => Verdict::Welcome,
            Some(one) if self.account.is_some() && self.refused.contains(one) => Verdict::Denied,
            Some(_) => Verdict::Unauthorized,
        }
    }
}

/// The repositories named in `scope=repository:<name>:pull` of a token request, of which there may be several.
fn repositories(uri: &Uri) -> Vec<String> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|query| query.0).unwrap_or_default();
    let scopes = pairs.iter().filter(|(key, _)| key == "scope").flat_map(|(_, value)| value.split(' '));
    let name = |scope: &str| Some(scope.strip_prefix("repository:")?.rsplit_once(':')?.0.to_owned());
    scopes.filter_map(name).collect()
}

/// An error in the form of the distribution specification.
fn refuse(status: StatusCode) -> Response {
    let code = match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::NOT_FOUND => "MANIFEST_UNKNOWN",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    let message = status.canonical_reason().unwrap_or("refused");
    let body = Json(json!({ "errors": [{ "code": code, "message": message }] }));
    let wait = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
    if wait { (status, [(RETRY_AFTER, "1")], body).into_response() } else { (status, body).into_response() }
}

fn redirect(base: &str, uri: &Uri) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, format!("{base}{uri}"))]).into_response()
}
