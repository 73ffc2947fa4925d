//! The log's servers: one, or those of a cluster with their names, addresses, configurations and certificates.

use std::{fmt, path::Path, str::FromStr};

use waybill_platform::config::is_loopback;

use super::{
    InitError, Plan, ROUTE_PASSWORD, SERVERS,
    files::Home,
    identities::ServerTokens,
    nats_conf::{Place, render},
    random_hex, tls,
};

/// Port of routes where none is given: as far from the clients' port as NATS has it.
const ROUTE_OFFSET: u16 = 2000;
/// The user by which servers of the cluster know each other.
const ROUTE_USER: &str = "route";

/// One server of a cluster, as everybody reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its name, unique in the cluster: a folder is called so.
    pub(crate) name: String,
    /// Name or address of its machine.
    pub(crate) host: String,
    /// Port for clients.
    pub(crate) port: u16,
    /// Port for the other servers.
    route_port: u16,
}

const FORM: &str = "NAME=HOST:PORT, or NAME=HOST:PORT/ROUTE_PORT, such as n1=nats-1.example.com:4222";

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let (name, address) = text.split_once('=')?;
            let (host, ports) = address.rsplit_once(':')?;
            let (port, route_port) = match ports.split_once('/') {
                Some((port, route)) => (port.parse::<u16>().ok()?, route.parse::<u16>().ok()?),
                None => {
                    let port = ports.parse::<u16>().ok()?;
                    (port, port.checked_add(ROUTE_OFFSET)?)
                }
            };
            let is_name = |name: &str, more: &str| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            };
            let valid = is_name(name, "-_") && is_name(host, "-.:[]");
            valid.then(|| Self { name: name.to_owned(), host: host.to_owned(), port, route_port })
        };
        parts().ok_or_else(|| FORM.to_owned())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}/{}", self.name, self.host, self.port, self.route_port)
    }
}

impl Server {
    /// The servers of a cluster on this machine: `n1` at port 4222, and so on.
    pub(crate) fn on_loopback(count: u16) -> Vec<Self> {
        let server = |number: u16| Self {
            name: format!("n{number}"),
            host: "127.0.0.1".to_owned(),
            port: 4221_u16.saturating_add(number),
            route_port: 4221_u16.saturating_add(ROUTE_OFFSET).saturating_add(number),
        };
        (1..=count).map(server).collect()
    }

    /// `host:port` for clients.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Where it listens for a port: on its own loopback address, or wherever its machine is reached.
    fn listen(&self, port: u16) -> String {
        match is_loopback(&self.host) {
            true => format!("{}:{port}", self.host),
            false => format!("0.0.0.0:{port}"),
        }
    }

    /// Where it listens for clients.
    pub(super) fn client_listen(&self) -> String {
        self.listen(self.port)
    }

    /// The configuration of its routes to the other servers. With TLS, each shows the others its certificate. Its own pings find a
    /// server that hangs within six seconds: until then that server is given a share of the direct reads and answers none, and
    /// nats-server by itself would take four minutes.
    pub(super) fn cluster(&self, all: &[Self], password: &str, tls: bool) -> String {
        let route = |other: &Self| format!("\"nats://{ROUTE_USER}:{password}@{}:{}\"", other.host, other.route_port);
        let routes: Vec<String> = all.iter().filter(|other| *other != self).map(route).collect();
        // By name, as their certificates have it: servers tell each other and their clients addresses otherwise.
        let (to_clients, to_servers) = match is_loopback(&self.host) {
            true => (String::new(), String::new()),
            false => (
                format!("client_advertise: \"{}\"\n", self.address()),
                format!("  advertise: \"{}:{}\"\n", self.host, self.route_port),
            ),
        };
        let tls = match tls {
            true => {
                "  tls { cert_file: \"tls/cert.pem\", key_file: \"tls/key.pem\", ca_file: \"tls/ca.pem\", verify: true }\n"
            }
            false => "",
        };
        format!(
            "{to_clients}cluster {{\n{to_servers}  name: \"waybill\"\n  listen: \"{}\"\n  \
             authorization {{ user: \"{ROUTE_USER}\", password: \"{password}\" }}\n  \
             routes: [{}]\n  ping_interval: \"2s\"\n  ping_max: 2\n{tls}}}\n",
            self.listen(self.route_port),
            routes.join(", "),
        )
    }
}

/// What clients put into `WAYBILL_NATS_URL`.
pub(super) fn url(servers: &[Server], tls: bool) -> String {
    let scheme = if tls { "tls" } else { "nats" };
    servers.iter().map(|server| format!("{scheme}://{}", server.address())).collect::<Vec<_>>().join(",")
}

/// The configuration of the one server, or of each server of the cluster in a folder of its own.
pub(super) fn write_servers(home: &mut Home, plan: &Plan, tokens: &ServerTokens) -> Result<(), InitError> {
    if plan.servers.is_empty() {
        let place = Place {
            name: "waybill",
            listen: &plan.nats_listen,
            tls: plan.nats_tls().then_some("tls/nats"),
            store: "data/nats",
            accounts: "data/accounts",
            cluster: String::new(),
        };
        return Ok(home.replace(Path::new("nats-server.conf"), render(&place, tokens).as_bytes())?);
    }
    let password = home.keep_or_write(Path::new(ROUTE_PASSWORD), || Ok(random_hex().into_bytes()))?;
    let password = String::from_utf8_lossy(&password).trim().to_owned();
    for server in &plan.servers {
        let folder = format!("servers/{}", server.name);
        home.make_folder(&format!("{folder}/data"))?;
        home.make_folder(&format!("{folder}/accounts"))?;
        let place = Place {
            name: &server.name,
            listen: &server.client_listen(),
            tls: plan.nats_tls().then_some("tls"),
            store: "data",
            accounts: "accounts",
            cluster: server.cluster(&plan.servers, &password, plan.nats_tls()),
        };
        let file = format!("{folder}/nats-server.conf");
        home.replace(Path::new(&file), render(&place, tokens).as_bytes())?;
    }
    let list: String = plan.servers.iter().map(|server| format!("{server}\n")).collect();
    Ok(home.replace(Path::new(SERVERS), list.as_bytes())?)
}

/// Certificates for what is reached from beyond loopback.
pub(super) fn write_certificates(home: &mut Home, plan: &Plan) -> Result<(), InitError> {
    home.make_folder("servers")?;
    let (nats, gateway) = (plan.nats_tls(), plan.gateway_tls());
    if !nats && !gateway {
        return Ok(());
    }
    home.make_folder("tls")?;
    let authority = tls::Authority::open(home)?;
    if gateway {
        home.make_folder("tls/gateway")?;
        authority.certify(home, "tls/gateway", &tls::names(plan.gateway_host()))?;
    }
    if nats && plan.servers.is_empty() {
        home.make_folder("tls/nats")?;
        authority.certify(home, "tls/nats", &tls::names(plan.nats_host()))?;
    }
    for server in plan.servers.iter().filter(|_| nats) {
        let folder = format!("servers/{}/tls", server.name);
        home.make_folder(&folder)?;
        authority.certify(home, &folder, &tls::names(&server.host))?;
    }
    Ok(())
}

/// Gives a setting of a file another value.
pub(super) fn set_value(home: &mut Home, file: &str, key: &str, value: &str) -> Result<(), InitError> {
    let text = home.keep_or_write(Path::new(file), || Ok(Vec::new()))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let of_key = |line: &str| line.split_once('=').is_some_and(|(name, _)| name == key);
    let lines = text.lines().map(|line| if of_key(line) { format!("{key}={value}\n") } else { format!("{line}\n") });
    Ok(home.replace(Path::new(file), lines.collect::<String>().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_written_and_read() {
        let cases = [
            ("n1=nats-1.example.com:4222", Some("n1=nats-1.example.com:4222/6222")),
            ("n1=10.0.0.1:4222/7000", Some("n1=10.0.0.1:4222/7000")),
            ("a_b-1=[::1]:4222", Some("a_b-1=[::1]:4222/6222")),
            ("n1", None),
            ("n1=host", None),
            ("=host:1", None),
            ("n1=:1", None),
            ("../n1=host:1", None),
            ("n1=ho\"st:1", None),
            ("n1=host:65000", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Server>().ok().map(|server| server.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn each_server_has_routes_to_the_others() {
        let servers: Vec<Server> =
            ["n1=127.0.0.1:4222", "n2=10.0.0.2:4222"].iter().map(|text| text.parse().unwrap()).collect();
        let first = servers[0].cluster(&servers, "pass", false);
        assert!(first.contains("listen: \"127.0.0.1:6222\"") && !first.contains("tls"), "{first}");
        assert!(first.contains("routes: [\"nats://route:pass@10.0.0.2:6222\"]"), "{first}");
        let second = servers[1].cluster(&servers, "pass", true);
        assert!(second.contains("listen: \"0.0.0.0:6222\"") && second.contains("verify: true"), "{second}");
        assert_eq!(url(&servers, true), "tls://127.0.0.1:4222,tls://10.0.0.2:4222");
    }
}
