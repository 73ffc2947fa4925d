//! The nats-server configuration: JetStream on files, and operator mode with the accounts' tokens for the first start.

use super::identities::ServerTokens;

/// An account: its name, its public key, its token.
pub(super) type Account = (String, String, String);

/// Where a server is. Folders are relative to the server's working folder.
pub(super) struct Place<'p> {
    pub(super) name: &'p str,
    /// `host:port` for clients.
    pub(super) listen: &'p str,
    /// Folder of its certificate and key.
    pub(super) tls: Option<&'p str>,
    /// Where JetStream keeps its files.
    pub(super) store: &'p str,
    /// Where it keeps the accounts' newest tokens.
    pub(super) accounts: &'p str,
    /// Its routes to the other servers, rendered; empty for a server alone.
    pub(super) cluster: String,
}

/// Renders the configuration.
pub(super) fn render(place: &Place<'_>, tokens: &ServerTokens) -> String {
    let Place { name, listen, store, accounts, cluster, .. } = place;
    let ServerTokens { operator, system, .. } = tokens;
    let tls = place.tls.map_or_else(String::new, |folder| {
        format!("tls {{ cert_file: \"{folder}/cert.pem\", key_file: \"{folder}/key.pem\", timeout: 5 }}\n")
    });
    let line = |(name, key, token): &Account| format!("  # {name}\n  {key}: {token}\n");
    let preload: String = tokens.accounts.iter().map(line).collect();
    format!(
        r#"# Written by `waybill init`: settings of your own go into a file that includes this one.
listen: "{listen}"
server_name: "{name}"
max_payload: 1MB
{tls}{cluster}
jetstream {{
  store_dir: "{store}"
  # An acknowledged event is on disk.
  sync_interval: always
}}

# What a user may do stands in tokens that these keys signed; a worker or a workspace more changes nothing here.
operator: "{operator}"
system_account: {system}
resolver {{
  type: full
  dir: "{accounts}"
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
