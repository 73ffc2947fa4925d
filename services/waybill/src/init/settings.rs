//! The settings files: `waybill.env` for all, `<role>.env` for each, as KEY=VALUE lines that containers can read too.

use super::{HASH_KEY, InitError, KEY_DIR, Plan, READERS, role::Role};

/// Name and text of every settings file.
pub(super) fn files(plan: &Plan) -> Result<Vec<(String, String)>, InitError> {
    let mut files = vec![
        ("waybill.env".to_owned(), shared(plan)),
        ("gateway.env".to_owned(), gateway(plan)),
        ("scheduler.env".to_owned(), scheduler(plan)),
        ("operator.env".to_owned(), operator(plan)),
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
    format!(
        "# Settings of every Waybill process. The environment goes before this file.\n\
         WAYBILL_NATS_URL=nats://{}\n\
         # OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\n\
         # WAYBILL_LOG=info\n\
         # WAYBILL_LOG_FORMAT=json\n",
        plan.nats_listen
    )
}

fn user(role: &Role) -> String {
    format!("WAYBILL_NATS_SEED_FILE=keys/{role}.nkey\nWAYBILL_NATS_INBOX_PREFIX={}\n", role.inbox())
}

fn operator(plan: &Plan) -> String {
    // The settings of a home folder are kept, so this is the first workspace that it got.
    let workspace = plan.workspaces.first().map_or_else(String::new, |name| format!("WAYBILL_WORKSPACE={name}\n"));
    format!(
        "{}# The workspace of questions that name none, and where traces can be looked at:\n{workspace}\
         # WAYBILL_JAEGER_URL=http://127.0.0.1:16686\n\
         # Where changes of secrets are asked for, with the workspace's token:\n\
         WAYBILL_GATEWAY_URL=http://{}\n",
        user(&Role::Operator),
        plan.gateway_listen
    )
}

fn gateway(plan: &Plan) -> String {
    format!(
        "{}WAYBILL_GATEWAY_LISTEN={}\n\
         WAYBILL_GATEWAY_TOKENS_FILE=tokens/gateway\n\
         # Hashes accounts' names and credentials, so that equal ones can be told. With another key, the next build of each\n\
         # image saves a new version.\n\
         WAYBILL_GATEWAY_HASH_KEY_FILE={HASH_KEY}\n",
        user(&Role::Gateway),
        plan.gateway_listen,
    )
}

fn scheduler(plan: &Plan) -> String {
    format!(
        "{}WAYBILL_SCHEDULER_PROJECTION=data/scheduler/projection.redb\n\
         # Sealing keys, newest name first: `waybill keys rotate` adds one, `waybill keys retire` removes old ones.\n\
         WAYBILL_SCHEDULER_KEY_DIR={KEY_DIR}\n\
         # Workspaces whose orchestrators read decisions and outcomes, one a line; `waybill init` writes them.\n\
         WAYBILL_SCHEDULER_READERS_FILE={READERS}\n\
         WAYBILL_SCHEDULER_HEALTH_LISTEN=127.0.0.1:{}\n\
         # 3 for a cluster of three servers or more; fixed once the stream is made.\n\
         WAYBILL_STREAM_REPLICAS=1\n",
        user(&Role::Scheduler),
        plan.health_port
    )
}

fn worker(role: &Role, id: &str, health_port: u16) -> String {
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
