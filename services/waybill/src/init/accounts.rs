//! Accounts of NATS operator mode: what each exports, imports and lets its users do, as the claims of its token.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use waybill_platform::{
    identity::{ASK, Claims, RENEW},
    log::API_PREFIX,
};
use waybill_schemas::{Filter, VaultFilter};

use super::role::{
    ISSUER_ACCOUNT, LOG_ACCOUNT, Role, STREAM, covers, imported, service_subjects, templated, vault_stream,
};

/// No limit, in the words of the claims.
const UNLIMITED: i64 = -1;
/// How long one that asks for messages may stay without any: the server forgets the request then, answered or not. Longer
/// than the 30 s that clients wait without heartbeats; a request whose reply nobody hears would else be kept for ever.
const RESPONSE_THRESHOLD_NS: u64 = 35_000_000_000;
/// How long a request may be answered.
const ANSWER_WITHIN_NS: u64 = 60_000_000_000;

/// Names of all accounts.
pub(super) fn names() -> BTreeSet<&'static str> {
    Role::patterns().iter().map(Role::account).chain([LOG_ACCOUNT]).collect()
}

/// Says one thing more.
pub(super) fn set(claims: &mut Value, key: &str, value: Value) {
    if let Some(claims) = claims.as_object_mut() {
        claims.insert(key.to_owned(), value);
    }
}

/// The operator's claims. Only keys that are named for signing may sign: an account's own key could else make users whose
/// permissions no template binds.
pub(super) fn operator_claims(operator: &str, signing: &str, system: &str) -> Claims {
    let nats = json!({
        "type": "operator", "version": 2, "system_account": system, "signing_keys": [signing],
        "strict_signing_key_usage": true,
    });
    Claims::new(operator, "waybill", nats)
}

/// An account's claims. `public` holds the public key of each account and of each kind's signing key.
pub(super) fn account_claims(account: &str, public: &BTreeMap<String, String>) -> Claims {
    let key = |name: &str| public.get(name).map(String::as_str).unwrap_or_default();
    let roles: Vec<Role> = Role::patterns().into_iter().filter(|role| role.account() == account).collect();
    let storage = if account == LOG_ACCOUNT { UNLIMITED } else { 0 };
    let scopes: Vec<Value> = roles.iter().map(|role| scope(role, key(role.kind()))).collect();
    let mut nats = json!({
        "type": "account", "version": 2, "signing_keys": scopes,
        "limits": {
            "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED, "imports": UNLIMITED, "exports": UNLIMITED,
            "wildcards": true, "conn": UNLIMITED, "leaf": 0, "mem_storage": 0, "disk_storage": storage,
            "streams": UNLIMITED, "consumer": UNLIMITED,
        },
    });
    let exports: Vec<Value> = exports(account).iter().map(Export::claim).collect();
    if !exports.is_empty() {
        set(&mut nats, "exports", json!(exports));
    }
    if roles.iter().any(Role::uses_the_log) {
        let import = |subject: String| {
            let from = key(exporter(&subject));
            json!({ "name": subject, "subject": subject, "account": from, "type": "service" })
        };
        set(&mut nats, "imports", imports(&roles).into_iter().map(import).collect());
    }
    Claims::new(key(account), account, nats)
}

/// The signing key of a kind of role: what it signs may do this and nothing else, whatever the user's token asks for.
fn scope(role: &Role, key: &str) -> Value {
    let all = |subjects: BTreeSet<String>| subjects.iter().map(|subject| templated(subject)).collect::<Vec<_>>();
    let mut template = json!({
        "pub": { "allow": all(role.grants()) }, "sub": { "allow": all(role.subscriptions()) },
        "subs": UNLIMITED, "data": UNLIMITED, "payload": UNLIMITED, "allowed_connection_types": ["STANDARD"],
    });
    if role.answers() {
        set(&mut template, "resp", json!({ "max": 1, "ttl": ANSWER_WITHIN_NS }));
    }
    json!({ "kind": "user_scope", "key": key, "role": role.kind(), "template": template })
}

/// The account that answers a subject.
fn exporter(subject: &str) -> &'static str {
    match subject {
        _ if subject == ASK || subject.starts_with(RENEW) => ISSUER_ACCOUNT,
        _ if service_subjects().iter().any(|service| service == subject) => Role::Gateway.account(),
        _ => LOG_ACCOUNT,
    }
}

/// What an account of these roles imports; none covers another, which the server would refuse.
fn imports(roles: &[Role]) -> BTreeSet<String> {
    let mut subjects: BTreeSet<String> =
        roles.iter().flat_map(Role::grants).map(|subject| imported(&subject)).collect();
    // Without it, the server has accounts without streams import the whole API of their own, and every request gets the
    // answer that JetStream is off before the right one.
    subjects.insert(format!("{API_PREFIX}.INFO"));
    let is_covered = |subject: &String| subjects.iter().any(|other| other != subject && covers(other, subject));
    subjects.iter().filter(|subject| !is_covered(subject)).cloned().collect()
}

/// A subject that an account lets others import, and whether one request there has many answers.
struct Export {
    subject: String,
    answered_by_many: bool,
}

impl Export {
    fn claim(&self) -> Value {
        let response = if self.answered_by_many { "Stream" } else { "Singleton" };
        let mut claim =
            json!({ "name": self.subject, "subject": self.subject, "type": "service", "response_type": response });
        if self.subject.contains(".CONSUMER.MSG.NEXT.") {
            set(&mut claim, "response_threshold", json!(RESPONSE_THRESHOLD_NS));
        }
        claim
    }
}

/// Everything that any role's grants need of an account. What is not here, nobody can be granted.
fn exports(account: &str) -> Vec<Export> {
    match account {
        LOG_ACCOUNT => exports_of_log(),
        ISSUER_ACCOUNT => {
            let subjects = [ASK.to_owned(), format!("{RENEW}.*.*")];
            subjects.map(|subject| Export { subject, answered_by_many: false }).into()
        }
        // Each process of the gateway answers a question to all services.
        _ if account == Role::Gateway.account() => {
            service_subjects().map(|subject| Export { subject, answered_by_many: true }).into()
        }
        _ => Vec::new(),
    }
}

fn exports_of_log() -> Vec<Export> {
    let vault = vault_stream();
    let mut subjects = vec![Filter::All.to_string(), VaultFilter::All.to_string(), format!("$JS.ACK.{STREAM}.>")];
    for stream in [STREAM, vault.as_str()] {
        let of_stream = ["STREAM.INFO", "STREAM.CREATE", "STREAM.MSG.GET"].map(|verb| format!("{verb}.{stream}"));
        let of_stream = of_stream.into_iter().chain([format!("DIRECT.GET.{stream}.>")]);
        subjects.extend(of_stream.map(|subject| format!("{API_PREFIX}.{subject}")));
    }
    let consumers = [("CREATE", ""), ("CREATE", ".>"), ("INFO", ".*"), ("NAMES", ""), ("LIST", ""), ("DELETE", ".*")];
    for (verb, names) in consumers {
        subjects.push(format!("{API_PREFIX}.CONSUMER.{verb}.{STREAM}{names}"));
    }
    subjects.extend(["INFO", "STREAM.NAMES", "STREAM.LIST"].map(|subject| format!("{API_PREFIX}.{subject}")));
    // The vault's entries can be erased for good; the log's cannot.
    subjects.push(format!("{API_PREFIX}.STREAM.MSG.DELETE.{vault}"));
    let many = [format!("DIRECT.GET.{STREAM}"), format!("DIRECT.GET.{vault}"), format!("CONSUMER.MSG.NEXT.{STREAM}.*")];
    let many = many.map(|subject| Export { subject: format!("{API_PREFIX}.{subject}"), answered_by_many: true });
    subjects.into_iter().map(|subject| Export { subject, answered_by_many: false }).chain(many).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_the_log() -> impl Iterator<Item = Role> {
        Role::patterns().into_iter().filter(Role::uses_the_log)
    }

    /// An import without an export is a request that nobody hears.
    #[test]
    fn every_grant_is_covered_by_an_import_and_an_export() {
        let exports: Vec<Export> = names().into_iter().flat_map(exports).collect();
        for role in of_the_log() {
            let imports = imports(std::slice::from_ref(&role));
            for grant in role.grants() {
                let grant = imported(&grant);
                assert!(exports.iter().any(|export| covers(&export.subject, &grant)), "{role}: {grant}");
                assert_eq!(imports.iter().filter(|import| covers(import, &grant)).count(), 1, "{role}: {grant}");
            }
        }
    }

    #[test]
    fn every_export_is_needed_by_a_grant_and_covers_no_other() {
        let grants: BTreeSet<String> = of_the_log().flat_map(|role| role.grants()).collect();
        let all = || names().into_iter().flat_map(exports);
        for Export { subject, .. } in all() {
            assert!(grants.iter().any(|grant| covers(&subject, grant)), "{subject}");
            let others = all().filter(|other| covers(&other.subject, &subject)).count();
            assert_eq!(others, 1, "{subject}");
        }
    }

    /// The server cuts an answer off after the first message where the export does not say otherwise.
    #[test]
    fn requests_with_many_answers_are_exported_as_such() {
        let claim = |subject: &str| {
            let found =
                exports(LOG_ACCOUNT).into_iter().find(|export| export.subject == format!("{API_PREFIX}.{subject}"));
            found.unwrap().claim()
        };
        for subject in ["DIRECT.GET.WAYBILL", "DIRECT.GET.KV_WAYBILL_VAULT", "CONSUMER.MSG.NEXT.WAYBILL.*"] {
            assert_eq!(claim(subject)["response_type"], "Stream", "{subject}");
        }
        assert_eq!(claim("CONSUMER.INFO.WAYBILL.*")["response_type"], "Singleton");
        assert_eq!(claim("CONSUMER.MSG.NEXT.WAYBILL.*")["response_threshold"], RESPONSE_THRESHOLD_NS);
    }

    #[test]
    fn no_account_but_the_log_s_has_storage_or_users_without_a_template() {
        let public = names().into_iter().map(|name| (name.to_owned(), format!("A{name}"))).collect();
        for account in names() {
            let claims = account_claims(account, &public);
            assert_eq!(claims.nats["limits"]["disk_storage"] == UNLIMITED, account == LOG_ACCOUNT, "{account}");
            let scopes = claims.nats["signing_keys"].as_array().unwrap();
            assert!(!scopes.is_empty() && scopes.iter().all(|key| key["kind"] == "user_scope"), "{account}");
        }
    }
}
