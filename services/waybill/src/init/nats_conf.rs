//! The nats-server configuration: JetStream on files, one account a role, nothing else granted.

use std::fmt::Write as _;

use super::role::{LOG_ACCOUNT, Role, STREAM};

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
    let plain = [
        "waybill.events.>".to_owned(),
        format!("$JS.ACK.{STREAM}.>"),
        format!("$JS.API.STREAM.INFO.{STREAM}"),
        format!("$JS.API.STREAM.CREATE.{STREAM}"),
        format!("$JS.API.STREAM.MSG.GET.{STREAM}"),
        format!("$JS.API.DIRECT.GET.{STREAM}.>"),
        format!("$JS.API.CONSUMER.CREATE.{STREAM}"),
        format!("$JS.API.CONSUMER.CREATE.{STREAM}.>"),
        format!("$JS.API.CONSUMER.INFO.{STREAM}.*"),
        format!("$JS.API.CONSUMER.NAMES.{STREAM}"),
        format!("$JS.API.CONSUMER.DELETE.{STREAM}.*"),
    ];
    let mut lines: String = plain.iter().map(|subject| format!("      {{ service: \"{subject}\" }}\n")).collect();
    lines.push_str("      # One request for messages is answered by many.\n");
    for subject in [format!("DIRECT.GET.{STREAM}"), format!("CONSUMER.MSG.NEXT.{STREAM}.*")] {
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
