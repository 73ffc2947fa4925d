//! What a check found, and what all of them amount to.

use serde::Serialize;

/// How one check, or all of them, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// As it must be.
    Ok,
    /// The check could not be made.
    Unknown,
    /// Somebody has to do something.
    Attention,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at, such as `health gateway`.
    pub(crate) check: String,
    /// How it came out.
    pub(crate) status: Status,
    /// What is the case.
    pub(crate) says: String,
    /// What to do, unless all is well.
    pub(crate) remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(check: impl Into<String>, says: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Ok, says: says.into(), remedy: None }
    }

    /// Something has to be done.
    pub(super) fn attention(check: impl Into<String>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Attention, says: says.into(), remedy: Some(remedy.into()) }
    }

    /// Nobody can tell, and how it could be told.
    pub(super) fn unknown(check: impl Into<String>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), status: Status::Unknown, says: says.into(), remedy: Some(remedy.into()) }
    }
}

/// All findings, and the worst of them.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    status: Status,
    checks: Vec<Finding>,
}

impl Report {
    pub(super) fn new(checks: Vec<Finding>) -> Self {
        let status = checks.iter().map(|finding| finding.status).max().unwrap_or(Status::Unknown);
        Self { status, checks }
    }

    pub(super) fn checks(&self) -> &[Finding] {
        &self.checks
    }

    /// How many checks came out like this.
    pub(super) fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|finding| finding.status == status).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_report_s() {
        let (ok, unknown) = (Finding::ok("a", ""), Finding::unknown("b", "", "look"));
        let attention = Finding::attention("c", "", "do");
        let cases = [
            (vec![], Status::Unknown),
            (vec![ok.clone()], Status::Ok),
            (vec![unknown.clone(), ok.clone()], Status::Unknown),
            (vec![ok, attention, unknown], Status::Attention),
        ];
        for (checks, expected) in cases {
            assert_eq!(Report::new(checks).status, expected);
        }
    }

    #[test]
    fn the_json_is_as_documented() {
        let report = Report::new(vec![Finding::attention("nats", "away", "start it")]);
        let expected = serde_json::json!({
            "status": "attention",
            "checks": [{ "check": "nats", "status": "attention", "says": "away", "remedy": "start it" }],
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }
}
