//! Misbehaviour on demand.

use std::sync::Mutex;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;

use super::lock;
use super::target::{Endpoint, Target};

/// What goes wrong, and where: `Fault::status(429).on(Endpoint::Manifest).times(2)`.
#[derive(Debug, Clone)]
pub struct Fault {
    effect: Effect,
    endpoint: Option<Endpoint>,
    repository: Option<String>,
    left: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum Effect {
    Status(StatusCode),
    Slow(Duration),
    Redirect(String),
    Answer(Box<Answer>),
}

/// An answer in place of the registry's own.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Fault {
    /// Answers with this status, and `Retry-After: 1` where that belongs to it. An invalid number becomes 500.
    pub fn status(code: u16) -> Self {
        Self::new(Effect::Status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    /// Answers rightly, but only after this long.
    pub fn slow(delay: Duration) -> Self {
        Self::new(Effect::Slow(delay))
    }

    /// Answers 307 to the same path at another base URL, as registries do that keep blobs elsewhere.
    pub fn redirect(base_url: impl Into<String>) -> Self {
        Self::new(Effect::Redirect(base_url.into()))
    }

    /// Answers with this, whatever was asked. An invalid number becomes 500.
    pub fn answer(code: u16, headers: &[(&'static str, &'static str)], body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Self::new(Effect::Answer(Box::new(Answer { status, headers, body: body.into() })))
    }

    /// Only for this kind of request.
    #[must_use]
    pub fn on(self, endpoint: Endpoint) -> Self {
        Self { endpoint: Some(endpoint), ..self }
    }

    /// Only for this repository.
    #[must_use]
    pub fn in_repository(self, repository: &str) -> Self {
        Self { repository: Some(repository.to_owned()), ..self }
    }

    /// Only this often.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { left: Some(times), ..self }
    }

    fn new(effect: Effect) -> Self {
        Self { effect, endpoint: None, repository: None, left: None }
    }

    fn fits(&self, target: &Target) -> bool {
        let same = |mine: &Option<String>| mine.is_none() || *mine == target.repository;
        self.left != Some(0) && self.endpoint.is_none_or(|one| one == target.endpoint) && same(&self.repository)
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        lock(&self.0).push(fault);
    }

    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// What befalls this request; it is counted.
    pub(super) fn befall(&self, target: &Target) -> Option<Effect> {
        let mut faults = lock(&self.0);
        let fault = faults.iter_mut().find(|fault| fault.fits(target))?;
        fault.left = fault.left.map(|left| left.saturating_sub(1));
        Some(fault.effect.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_where_and_as_often_as_it_says() {
        let faults = Faults::default();
        faults.add(Fault::status(429).on(Endpoint::Manifest).in_repository("app").times(2));
        let struck = |path| faults.befall(&Target::parse(path)).is_some();
        assert!(!struck("/v2/"));
        assert!(!struck("/v2/other/manifests/1"));
        assert!(struck("/v2/app/manifests/1"));
        assert!(struck("/v2/app/manifests/2"));
        assert!(!struck("/v2/app/manifests/1"));
    }
}
