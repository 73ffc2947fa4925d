//! The nats-server configuration: JetStream on files, one account a role, nothing else granted.

use waybill_schemas::{Filter, VaultFilter};

use super::role::{LOG_ACCOUNT, Role, STREAM, vault_stream};

/// A role and the public nkey of its user.
pub(super) type User = (Role, String);

/// Renders the configuration. `listen` is `host:port`; the store is relative to the server's working folder.
pub(super) fn render(listen: &str, users: &[User]) -> String {
    let accounts: String = users.iter().map(|(role, key)| account(role, key)).collect();
    format!(
        r#"# Written by `waybill init`, and again when it adds a worker or a workspace: settings of your own go into a file
# that includes this one.
listen: "{listen}"
server_name: "waybill"
max_payload: 1MB

jetstream {{
  store_dir: "data/nats"
  # An acknowledged event is on disk.
  sync_interval: always
}}

accounts {{
  # Holds the log and the vault. Nobody connects to it: what a role may do is what its own account imports below.
  {LOG_ACCOUNT} {{
    jetstream: enabled
    exports: [
{exports}    ]
  }}
{accounts}}}
"#,
        exports = exports().iter().map(export).collect::<String>(),
    )
}

/// A subject that the account of the streams lets others import, and whether one request there has many answers.
struct Export {
    subject: String,
    answered_by_many: bool,
}

/// Everything that any role's grants need. What is not here, nobody can be granted.
fn exports() -> Vec<Export> {
    let vault = vault_stream();
    let mut subjects = vec![Filter::All.to_string(), VaultFilter::All.to_string(), format!("$JS.ACK.{STREAM}.>")];
    for stream in [STREAM, vault.as_str()] {
        let of_stream = ["STREAM.INFO", "STREAM.CREATE", "STREAM.MSG.GET"].map(|verb| format!("{verb}.{stream}"));
        let of_stream = of_stream.into_iter().chain([format!("DIRECT.GET.{stream}.>")]);
        subjects.extend(of_stream.map(|subject| format!("$JS.API.{subject}")));
    }
    for (verb, names) in [("CREATE", ""), ("CREATE", ".>"), ("INFO", ".*"), ("NAMES", ""), ("DELETE", ".*")] {
        subjects.push(format!("$JS.API.CONSUMER.{verb}.{STREAM}{names}"));
    }
    // The vault's entries can be erased for good; the log's cannot.
    subjects.push(format!("$JS.API.STREAM.MSG.DELETE.{vault}"));
    let many = [format!("DIRECT.GET.{STREAM}"), format!("DIRECT.GET.{vault}"), format!("CONSUMER.MSG.NEXT.{STREAM}.*")];
    let many = many.map(|subject| Export { subject: format!("$JS.API.{subject}"), answered_by_many: true });
    subjects.into_iter().map(|subject| Export { subject, answered_by_many: false }).chain(many).collect()
}

fn export(Export { subject, answered_by_many }: &Export) -> String {
    let response = if *answered_by_many { ", response: stream" } else { "" };
    format!("      {{ service: \"{subject}\"{response} }}\n")
}

fn account(role: &Role, public_key: &str) -> String {
    let grants = role.grants();
    let allow: String = grants.iter().map(|grant| format!("          \"{}\"\n", grant.local())).collect();
    let imports: String = grants.iter().map(|grant| import(&grant.exported(), &grant.local())).collect();
    format!(
        r#"
  "{role}" {{
    users: [{{
      nkey: "{public_key}"
      permissions {{
        publish {{ allow: [
{allow}        ] }}
        subscribe {{ allow: ["{inbox}.>"] }}
      }}
    }}]
    imports: [
{imports}    ]
  }}
"#,
        inbox = role.inbox(),
    )
}

fn import(exported: &str, local: &str) -> String {
    let from = format!("service: {{ account: \"{LOG_ACCOUNT}\", subject: \"{exported}\" }}");
    if exported == local {
        return format!("      {{ {from} }}\n");
    }
    format!("      {{ {from}, to: \"{local}\" }}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::role::{Grant, covers};

    fn roles() -> Vec<Role> {
        let (worker, workspace) = ("w1".parse().unwrap(), "acme".parse().unwrap());
        vec![Role::Gateway, Role::Scheduler, Role::Operator, Role::Worker(worker), Role::Orchestrator(workspace)]
    }

    /// An import without an export is a configuration that the server refuses, or a request that nobody hears.
    #[test]
    fn every_grant_is_covered_by_an_export() {
        let exports = exports();
        for role in roles() {
            for grant in role.grants() {
                let exported = grant.exported();
                assert!(exports.iter().any(|export| covers(&export.subject, &exported)), "{role}: {exported}");
            }
        }
    }

    #[test]
    fn every_export_is_needed_by_a_grant() {
        let grants: Vec<Grant> = roles().iter().flat_map(Role::grants).collect();
        for Export { subject, .. } in exports() {
            assert!(grants.iter().any(|grant| covers(&subject, &grant.exported())), "{subject}");
        }
    }

    /// The server cuts an answer off after the first message where the export does not say otherwise.
    #[test]
    fn requests_with_many_answers_are_exported_as_such() {
        let many = |subject: &str| {
            let found = exports().into_iter().find(|export| export.subject == subject);
            found.is_some_and(|export| export.answered_by_many)
        };
        for subject in ["DIRECT.GET.WAYBILL", "DIRECT.GET.KV_WAYBILL_VAULT", "CONSUMER.MSG.NEXT.WAYBILL.*"] {
            assert!(many(&format!("$JS.API.{subject}")), "{subject}");
        }
    }
}
