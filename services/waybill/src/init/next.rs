//! What is left to do after `waybill init`: what runs already learns nothing by itself of the files that it changed.

use std::path::{Path, PathBuf};

use super::{Plan, Report, Role, Server};

/// What to do next, one sentence each.
pub(crate) fn steps(plan: &Plan, report: &Report) -> Vec<String> {
    let written = |name: &str| report.written.iter().any(|file| file == Path::new(name));
    let changed = |name: &str| report.changed.iter().any(|file| file == Path::new(name));
    let dev = format!("waybill --home {} dev", plan.home.display());
    if written("nats-server.conf") {
        return vec![dev];
    }
    let mut steps = Vec::new();
    let servers: Vec<&Path> =
        report.changed.iter().map(PathBuf::as_path).filter(|file| file.ends_with("nats-server.conf")).collect();
    let is_new = |server: &Server| {
        report.written.iter().any(|file| *file == Path::new("servers").join(&server.name).join("nats-server.conf"))
    };
    for server in plan.servers.iter().filter(|server| is_new(server)) {
        let folder = plan.home.join("servers").join(&server.name);
        steps.push(format!("on {}, in {}: nats-server -c nats-server.conf", server.host, folder.display()));
    }
    if changed("waybill.env") && changed("scheduler.env") {
        steps.push(
            "one server becomes several: `waybill backup` before the old one stops, `waybill restore` once the new ones run"
                .to_owned(),
        );
    }
    if !servers.is_empty() {
        steps.push(
            "restart nats-server, which reads the accounts when it starts; all reconnect by themselves".to_owned(),
        );
    }
    if changed("tokens/gateway") {
        steps.push("restart the gateway, which reads tokens when it starts".to_owned());
    }
    if changed("identities.json") {
        steps.push("the issuer records workers and workspaces when it sees identities.json change".to_owned());
    }
    let new = |role: &Role| written(&format!("keys/{role}.creds"));
    let workers = plan.workers.iter().map(|id| (id, Role::Worker(id.clone()))).filter(|(_, role)| new(role));
    steps.extend(workers.map(|(id, role)| {
        format!(
            "give the node of {id} these files, with WAYBILL_NATS_URL as the node reaches it: \
             waybill.env {role}.env keys/{role}.creds keys/{role}.xkey{}",
            if plan.nats_tls() { " tls/ca.pem" } else { "" }
        )
    }));
    if steps.is_empty() {
        return vec![dev];
    }
    if plan.servers.is_empty() {
        steps.push("or, where `waybill dev` runs all of it: start that again".to_owned());
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_must_learn_of_what_changed() {
        let cases: [(&[&str], &[&str], &[&str]); 4] = [
            (&["nats-server.conf", "tokens/gateway", "keys/worker-w1.creds"], &[], &["waybill --home h dev"]),
            (&[], &[], &["waybill --home h dev"]),
            (
                &["keys/worker-w1.creds"],
                &[],
                &["waybill.env worker-w1.env keys/worker-w1.creds keys/worker-w1.xkey", "waybill dev"],
            ),
            (
                &["keys/orchestrator-b.creds"],
                &["nats-server.conf", "tokens/gateway", "identities.json"],
                &["restart nats-server", "restart the gateway", "the issuer records", "waybill dev"],
            ),
        ];
        for (written, changed, expected) in cases {
            let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect();
            let plan = Plan {
                home: "h".into(),
                workspaces: Vec::new(),
                workers: vec!["w1".parse().unwrap()],
                servers: Vec::new(),
                nats_listen: "127.0.0.1:4222".to_owned(),
                gateway_listen: "127.0.0.1:8484".to_owned(),
                health_port: 8485,
                worker_port: None,
            };
            let found = steps(&plan, &Report { written: paths(written), changed: paths(changed), kept: 0 });
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (step, words) in found.iter().zip(expected) {
                assert!(step.contains(words), "{words}: {step}");
            }
        }
    }
}
