//! Which workspace and container a Kubernetes service account pulls for: rules, the first that fits decides.

use std::collections::BTreeMap;

use serde::Deserialize;
use waybill_schemas::{ContainerId, IdError, WorkspaceId, v1::PodIdentity};

/// One rule. What it asks for and does not name, fits everybody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The service account's namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The service account's name.
    #[serde(default)]
    pub service_account: Option<String>,
    /// Annotations that it must have, with these values.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The workspace that it pulls for.
    pub workspace: Template,
    /// The container whose login it has; without one, the workspace's container that pulls the same image.
    #[serde(default)]
    pub container: Option<Template>,
}

/// An id, or where it stands: `{namespace}`, `{service_account}` or `{annotation:KEY}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Template {
    /// The id itself.
    Literal(String),
    /// The namespace.
    Namespace,
    /// The service account's name.
    ServiceAccount,
    /// The annotation's value.
    Annotation(String),
}

/// A template names no place of a pod's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an id (1 to 128 of A-Z a-z 0-9 _ -), {{namespace}}, {{service_account}} or {{annotation:KEY}}")]
pub struct TemplateError;

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some("namespace") => Ok(Self::Namespace),
            Some("service_account") => Ok(Self::ServiceAccount),
            Some(place) => {
                let key = place.strip_prefix("annotation:").filter(|key| !key.is_empty());
                key.map(|key| Self::Annotation(key.to_owned())).ok_or(TemplateError)
            }
            // Workspaces and containers are named by the same letters.
            None if text.parse::<WorkspaceId>().is_ok() => Ok(Self::Literal(text)),
            None => Err(TemplateError),
        }
    }
}

/// Whose login a service account has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The container, where the rule names one.
    pub container: Option<ContainerId>,
}

/// A service account has nobody's login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmapped {
    /// No rule fits.
    #[error("no rule fits service account {0}")]
    NoRule(String),
    /// The rule that fits takes an id from where there is none.
    #[error("rule {rule} takes its {field} from {place}, and service account {account} has none")]
    Missing {
        /// Number of the rule, counted from 1.
        rule: usize,
        /// `workspace` or `container`.
        field: &'static str,
        /// Where the id should stand.
        place: String,
        /// `namespace/name`.
        account: String,
    },
    /// What stands there is no id.
    #[error("rule {rule} takes its {field} from service account {account}, and what stands there is no id")]
    NoId {
        /// Number of the rule, counted from 1.
        rule: usize,
        /// `workspace` or `container`.
        field: &'static str,
        /// `namespace/name`.
        account: String,
    },
}

/// Finds whose login a service account has. A rule that fits and cannot be filled in ends the search: the rules behind it
/// may be wider, and were not meant.
///
/// # Errors
/// [`Unmapped`].
pub fn map_identity(
    rules: &[Rule],
    identity: &PodIdentity,
    annotations: &BTreeMap<String, String>,
) -> Result<Target, Unmapped> {
    let account = || format!("{}/{}", identity.namespace, identity.service_account);
    let is_named = |asked: &Option<String>, value: &String| asked.as_ref().is_none_or(|asked| asked == value);
    let fits = |rule: &Rule| {
        is_named(&rule.namespace, &identity.namespace)
            && is_named(&rule.service_account, &identity.service_account)
            && rule.annotations.iter().all(|(key, value)| annotations.get(key) == Some(value))
    };
    let found = rules.iter().zip(1_usize..).find(|(rule, _)| fits(rule));
    let (rule, number) = found.ok_or_else(|| Unmapped::NoRule(account()))?;
    let fill = |field: &'static str, template: &Template| match template {
        Template::Literal(id) => Ok(id.clone()),
        Template::Namespace => Ok(identity.namespace.clone()),
        Template::ServiceAccount => Ok(identity.service_account.clone()),
        Template::Annotation(key) => {
            let place = format!("annotation {key}");
            let missing = Unmapped::Missing { rule: number, field, place, account: account() };
            annotations.get(key).cloned().ok_or(missing)
        }
    };
    let no_id = |field: &'static str| move |_: IdError| Unmapped::NoId { rule: number, field, account: account() };
    let workspace = fill("workspace", &rule.workspace)?.parse().map_err(no_id("workspace"))?;
    let container = match &rule.container {
        Some(template) => Some(fill("container", template)?.parse().map_err(no_id("container"))?),
        None => None,
    };
    Ok(Target { workspace, container })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"[
        { "namespace": "shop", "service_account": "web", "workspace": "acme", "container": "web-1" },
        { "namespace": "shop", "annotations": { "tier": "api" }, "workspace": "acme", "container": "{service_account}" },
        { "namespace": "lab", "workspace": "{annotation:waybill.dev/workspace}", "container": "{annotation:waybill.dev/c}" },
        { "service_account": "puller", "workspace": "{namespace}" },
        { "annotations": { "waybill.dev/all": "yes" }, "workspace": "shared" }
    ]"#;

    type Annotations<'a> = &'a [(&'a str, &'a str)];

    /// `workspace/container`, `workspace`, or why there is none.
    fn map(namespace: &str, service_account: &str, annotations: Annotations<'_>) -> String {
        let rules: Vec<Rule> = serde_json::from_str(RULES).unwrap();
        let identity = PodIdentity { namespace: namespace.to_owned(), service_account: service_account.to_owned() };
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        match map_identity(&rules, &identity, &annotations) {
            Ok(Target { workspace, container: Some(container) }) => format!("{workspace}/{container}"),
            Ok(Target { workspace, container: None }) => workspace.to_string(),
            Err(unmapped) => unmapped.to_string(),
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let (ws, c) = (("waybill.dev/workspace", "acme"), ("waybill.dev/c", "c1"));
        let cases: [(&str, &str, Annotations<'_>, &str); 14] = [
            ("shop", "web", &[], "acme/web-1"),
            ("shop", "web", &[("tier", "api")], "acme/web-1"),
            ("shop", "api", &[("tier", "api"), ("other", "x")], "acme/api"),
            ("shop", "api", &[], "no rule fits service account shop/api"),
            ("shop", "api", &[("tier", "web")], "no rule fits service account shop/api"),
            ("lab", "any", &[ws, c], "acme/c1"),
            (
                "lab",
                "any",
                &[ws],
                "rule 3 takes its container from annotation waybill.dev/c, and service account lab/any has none",
            ),
            (
                "lab",
                "puller",
                &[],
                "rule 3 takes its workspace from annotation waybill.dev/workspace, and service account lab/puller has none",
            ),
            (
                "lab",
                "any",
                &[("waybill.dev/workspace", "no id"), c],
                "rule 3 takes its workspace from service account lab/any, and what stands there is no id",
            ),
            (
                "lab",
                "any",
                &[ws, ("waybill.dev/c", "*")],
                "rule 3 takes its container from service account lab/any, and what stands there is no id",
            ),
            ("umbrella", "puller", &[], "umbrella"),
            ("umbrella", "other", &[("waybill.dev/all", "yes")], "shared"),
            ("umbrella", "other", &[("waybill.dev/all", "no")], "no rule fits service account umbrella/other"),
            ("Shop", "web", &[], "no rule fits service account Shop/web"),
        ];
        for (namespace, service_account, annotations, expected) in cases {
            assert_eq!(map(namespace, service_account, annotations), expected, "{namespace}/{service_account}");
        }
    }

    #[test]
    fn a_rule_says_what_it_gives() {
        let cases = [
            (r#"{ "workspace": "acme" }"#, None),
            (r#"{ "workspace": "{annotation:a/b}" }"#, None),
            (r#"{ "namespace": "n" }"#, Some("workspace")),
            (r#"{ "workspace": "a.b" }"#, Some("must be an id")),
            (r#"{ "workspace": "{pod}" }"#, Some("must be an id")),
            (r#"{ "workspace": "{annotation:}" }"#, Some("must be an id")),
            (r#"{ "workspace": "acme", "pod": "p" }"#, Some("pod")),
        ];
        for (text, expected) in cases {
            let error = serde_json::from_str::<Rule>(text).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), expected.is_some(), "{text}: {error:?}");
            assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()), "{text}");
        }
    }
}
