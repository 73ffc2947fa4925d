//! An in-process STS that refuses every AssumeRole, as AWS does when a role's trust policy names somebody else.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::error::StartError;
use crate::serving::Serving;

/// A running STS endpoint.
#[derive(Debug)]
pub struct RefusingSts {
    asked: Arc<Mutex<Vec<String>>>,
    serving: Serving,
}

impl RefusingSts {
    /// Starts one.
    pub fn start() -> Result<Self, StartError> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = asked.clone();
        let serving = Serving::start("the in-process STS", |_| Router::new().fallback(refuse).with_state(shared))?;
        Ok(Self { asked, serving })
    }

    /// The endpoint to configure in place of AWS's.
    pub fn endpoint(&self) -> String {
        self.serving.url()
    }

    /// The forms that it was sent, oldest first.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn refuse(Shared(asked): Shared<Arc<Mutex<Vec<String>>>>, form: String) -> Response {
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(form);
    let message = "User: arn:aws:iam::123456789012:user/ada is not authorized to perform: sts:AssumeRole";
    let error = format!("<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>");
    let body = format!("<ErrorResponse>{error}<RequestId>r-1</RequestId></ErrorResponse>");
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "text/xml")], body).into_response()
}
