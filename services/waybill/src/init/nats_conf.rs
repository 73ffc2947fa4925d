//! The nats-server configuration: JetStream on files, and operator mode with the accounts' tokens for the first start.

/// An account: its name, its public key, its token.
pub(super) type Account = (String, String, String);

/// Renders the configuration. `listen` is `host:port`; folders are relative to the server's working folder.
pub(super) fn render(listen: &str, operator: &str, system: &str, accounts: &[Account]) -> String {
    let line = |(name, key, token): &Account| format!("  # {name}\n  {key}: {token}\n");
    let preload: String = accounts.iter().map(line).collect();
    format!(
        r#"# Written by `waybill init`: settings of your own go into a file that includes this one.
listen: "{listen}"
server_name: "waybill"
max_payload: 1MB

jetstream {{
  store_dir: "data/nats"
  # An acknowledged event is on disk.
  sync_interval: always
}}

# What a user may do stands in tokens that these keys signed; a worker or a workspace more changes nothing here.
operator: "{operator}"
system_account: {system}
resolver {{
  type: full
  dir: "data/accounts"
  allow_delete: true
  # A server that was away learns within seconds which credentials were revoked.
  interval: "2s"
}}
# For the first start. A newer token in the folder above goes before these.
resolver_preload {{
{preload}}}
"#
    )
}
