//! The settings files: `waybill.env` for all, `<role>.env` for each, as KEY=VALUE lines that containers can read too.

use super::{HASH_KEY, InitError, KEY_DIR, Plan, SEED, SIGNING, role::Role, tls::CA};

/// Name and text of every settings file.
pub(super) fn files(plan: &Plan) -> Result<Vec<(String, String)>, InitError> {
    let mut files = vec![
        ("waybill.env".to_owned(), shared(plan)),
        ("gateway.env".to_owned(), gateway(plan)),
        ("scheduler.env".to_owned(), scheduler(plan)),
        ("operator.env".to_owned(), operator(plan)),
        ("issuer.env".to_owned(), issuer()),
    ];
    let mut next = plan.worker_port;
    for id in &plan.workers {
        let port = next.ok_or(InitError::Ports)?;
        next = port.checked_add(1);
        let role = Role::Worker(id.clone());
        files.push((format!("{role}.env"), worker(&role, id.as_str(), port)));
    }
    Ok(files)
}

fn shared(plan: &Plan) -> String {
    let url = plan.nats_url();
    let ca = if plan.nats_tls() { format!("WAYBILL_NATS_CA_FILE={CA}\n") } else { String::new() };
    format!(
        "# Settings of every Waybill process. The environment goes before this file.\n\
         WAYBILL_NATS_URL={url}\n\
         {ca}\
         # OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\n\
         # WAYBILL_LOG=info\n\
         # WAYBILL_LOG_FORMAT=json\n",
    )
}

fn user(role: &Role) -> String {
    format!("WAYBILL_NATS_CREDS_FILE=keys/{role}.creds\nWAYBILL_NATS_INBOX_PREFIX={}\n", role.inbox())
}

fn operator(plan: &Plan) -> String {
    // The settings of a home folder are kept, so this is the first workspace that it got.
    let workspace = plan.workspaces.first().map_or_else(String::new, |name| format!("WAYBILL_WORKSPACE={name}\n"));
    format!(
        "{}# The workspace of questions that name none, and where traces can be looked at:\n{workspace}\
         # WAYBILL_JAEGER_URL=http://127.0.0.1:16686\n\
         # Where changes of secrets are asked for, with the workspace's token:\n\
         WAYBILL_GATEWAY_URL={}://{}\n{}",
        user(&Role::Operator),
        if plan.gateway_tls() { "https" } else { "http" },
        plan.gateway_listen,
        if plan.gateway_tls() { format!("WAYBILL_GATEWAY_CA_FILE={CA}\n") } else { String::new() },
    )
}

fn issuer() -> String {
    format!(
        "{}WAYBILL_ISSUER_CLAIMS_CREDS_FILE=keys/{}.creds\n\
         WAYBILL_ISSUER_KEY_DIR={SIGNING}\n\
         WAYBILL_ISSUER_ACCOUNT_DIR=nats\n\
         WAYBILL_ISSUER_SEED_FILE={SEED}\n\
         # Addresses of the NATS servers as nodes reach them, which a worker that joins is told:\n\
         # WAYBILL_ISSUER_SERVERS=tls://nats.example.com:4222\n\
         # WAYBILL_ISSUER_HEALTH_LISTEN=127.0.0.1:8483\n",
        user(&Role::Issuer),
        Role::Claims
    )
}

fn gateway(plan: &Plan) -> String {
    format!(
        "{}WAYBILL_GATEWAY_LISTEN={}\n{}\
         WAYBILL_GATEWAY_TOKENS_FILE=tokens/gateway\n\
         # Hashes accounts' names and credentials, so that equal ones can be told. With another key, the next build of each\n\
         # image saves a new version.\n\
         WAYBILL_GATEWAY_HASH_KEY_FILE={HASH_KEY}\n",
        user(&Role::Gateway),
        plan.gateway_listen,
        match plan.gateway_tls() {
            true => "WAYBILL_GATEWAY_TLS_CERT=tls/gateway/cert.pem\nWAYBILL_GATEWAY_TLS_KEY=tls/gateway/key.pem\n",
            false => "",
        },
    )
}

fn scheduler(plan: &Plan) -> String {
    format!(
        "{}WAYBILL_SCHEDULER_PROJECTION=data/scheduler/projection.redb\n\
         # Sealing keys, newest name first: `waybill keys rotate` adds one, `waybill keys retire` removes old ones.\n\
         WAYBILL_SCHEDULER_KEY_DIR={KEY_DIR}\n\
         WAYBILL_SCHEDULER_HEALTH_LISTEN=127.0.0.1:{}\n\
         # Copies of log and vault when the scheduler makes them; `waybill replicas` changes them later.\n\
         WAYBILL_STREAM_REPLICAS={}\n",
        user(&Role::Scheduler),
        plan.health_port,
        if plan.servers.is_empty() { 1 } else { 3 },
    )
}

/// A worker's own settings.
pub(crate) fn worker(role: &Role, id: &str, health_port: u16) -> String {
    format!(
        "{}WAYBILL_WORKER_ID={id}\n\
         WAYBILL_WORKER_SEALING_KEY_FILE=keys/{role}.xkey\n\
         WAYBILL_WORKER_HEALTH_LISTEN=127.0.0.1:{health_port}\n\
         # Registries without TLS, as host:port, comma separated:\n\
         # WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES=localhost:5000\n\
         # Where programs of the node find their containers' logins, and the group (a gid) that may besides this user:\n\
         # WAYBILL_WORKER_NODE_DIR=/run/waybill\n\
         # WAYBILL_WORKER_SOCKET_GROUP=0\n\
         # Which pods of a Kubernetes node have whose logins (REGISTRIES.md, \"The kubelet\"):\n\
         # WAYBILL_WORKER_POD_IDENTITIES=pods.json\n",
        user(role)
    )
}
