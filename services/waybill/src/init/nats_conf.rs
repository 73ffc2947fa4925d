//! The nats-server configuration: JetStream on files, one account a role, nothing else granted.

use std::fmt::Write as _;

use waybill_schemas::{Filter, VaultFilter};

use super::role::{LOG_ACCOUNT, Role, STREAM, vault_stream};

/// A role and the public nkey of its user.
pub(crate) type User = (Role, String);

/// Renders the configuration. `listen` is `host:port`; the store is relative to the server's working folder.
pub(crate) fn render(listen: &str, users: &[User]) -> String {
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
  # Holds the stream. Nobody connects to it: what a role may do is what its own account imports below.
  {LOG_ACCOUNT} {{
    jetstream: enabled
    exports: [
{exports}    ]
  }}
{accounts}}}
"#,
        exports = exports(),
    )
}

fn exports() -> String {
    let mut plain = vec![Filter::All.to_string(), VaultFilter::All.to_string(), format!("$JS.ACK.{STREAM}.>")];
    let vault = vault_stream();
    for stream in [STREAM, vault.as_str()] {
        let of_stream = ["STREAM.INFO", "STREAM.CREATE", "STREAM.MSG.GET"].map(|verb| format!("{verb}.{stream}"));
        plain.extend(of_stream.into_iter().chain([format!("DIRECT.GET.{stream}.>")]).map(|api| format!("$JS.API.{api}")));
    }
    let consumers = ["CREATE.WAYBILL", "CREATE.WAYBILL.>", "INFO.WAYBILL.*", "NAMES.WAYBILL", "DELETE.WAYBILL.*"];
    plain.extend(consumers.map(|verb| format!("$JS.API.CONSUMER.{verb}")));
    // The vault's entries can be erased for good; the log's cannot.
    plain.push(format!("$JS.API.STREAM.MSG.DELETE.{vault}"));
    let mut lines: String = plain.iter().map(|subject| format!("      {{ service: \"{subject}\" }}\n")).collect();
    lines.push_str("      # One request for messages is answered by many.\n");
    for subject in [
        format!("DIRECT.GET.{STREAM}"),
        format!("DIRECT.GET.{vault}"),
        format!("CONSUMER.MSG.NEXT.{STREAM}.*"),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "      {{ service: \"$JS.API.{subject}\", response: stream }}");
    }
    lines
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
