//! A tiny STS: AssumeRole, with its expiry, its refusal and its callers in hand.

use std::sync::{Arc, Mutex, MutexGuard};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::Server;

pub(crate) const ROLE_KEY: &str = "ASIAROLE";
pub(crate) const ROLE_SECRET: &str = "s3cr3t-role-key";
pub(crate) const ROLE_SESSION: &str = "s3cr3t-role-session";

#[derive(Default)]
pub(crate) struct Script {
    /// Seconds from now to the keys' end.
    pub(crate) life: i64,
    /// Code of the refusal, if it refuses.
    pub(crate) refusal: Option<&'static str>,
    /// Who signed, and the form that was sent, of every call so far.
    pub(crate) calls: Vec<(String, String)>,
}

pub(crate) struct FakeSts {
    server: Server,
    script: Arc<Mutex<Script>>,
}

impl FakeSts {
    /// Gives keys for an hour.
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script { life: 3600, ..Script::default() }));
        let server = Server::start(Router::new().fallback(handle).with_state(script.clone())).await;
        Self { server, script }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.server.url()
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }
}

async fn handle(State(script): State<Arc<Mutex<Script>>>, headers: HeaderMap, form: String) -> Response {
    let mut script = script.lock().unwrap();
    script.calls.push((headers["authorization"].to_str().unwrap().to_owned(), form));
    let end = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap() + Duration::seconds(script.life);
    let end = end.format(&Rfc3339).unwrap();
    let (status, body) = match script.refusal {
        // As hostile as can be: it repeats what it knows.
        Some(code) => {
            let message = "s3cr3t-aws-key s3cr3t-external-id is not authorized to perform: sts:AssumeRole";
            let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
            (403, format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"))
        }
        None => {
            let keys = format!(
                "<AccessKeyId>{ROLE_KEY}</AccessKeyId><SecretAccessKey>{ROLE_SECRET}</SecretAccessKey>\
                 <SessionToken>{ROLE_SESSION}</SessionToken><Expiration>{end}</Expiration>"
            );
            let result = format!("<AssumeRoleResult><Credentials>{keys}</Credentials></AssumeRoleResult>");
            (200, format!("<AssumeRoleResponse>{result}</AssumeRoleResponse>"))
        }
    };
    (StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, "text/xml")], body).into_response()
}
