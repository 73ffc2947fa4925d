//! Beyond loopback: the log's server and the gateway speak TLS with certificates that `waybill init` makes, nobody speaks
//! without, and a new certificate is served without a restart.

use std::{net::UdpSocket, path::Path, time::Duration};

use serde_json::json;
use waybill_tests::{
    authority::PrivateCa,
    error::{Missing, StartError},
    find,
    port::Port,
    process::{Finished, Process, command},
    require,
    scratch::Scratch,
    wait::eventually,
};

use super::PATIENCE;

/// An address of this machine that is not loopback. Nothing is sent.
fn own_address() -> Result<String, Missing> {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let found = found.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    found
        .map(|ip| ip.to_string())
        .ok_or_else(|| Missing::new("an address beyond loopback", "give the machine a network"))
}

struct Place {
    scratch: Scratch,
    address: String,
    nats: Port,
    gateway: Port,
}

impl Place {
    async fn new(address: String) -> Result<Self, StartError> {
        let port = || Port::reserve().map_err(StartError::setup("a port"));
        let place = Self { scratch: Scratch::new("tls")?, address, nats: port()?, gateway: port()? };
        let (nats, gateway) = (place.host(&place.nats), place.host(&place.gateway));
        let init = ["init", "--workspace", "acme", "--nats-listen", &nats, "--gateway-listen", &gateway];
        let made = place.run(&init).await;
        assert!(made.status.success(), "{}", made.stderr);
        Ok(place)
    }

    fn host(&self, port: &Port) -> String {
        format!("{}:{}", self.address, port.number())
    }

    fn home(&self) -> std::path::PathBuf {
        self.scratch.path().join("home")
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut child = command(find::workspace_binary("waybill").unwrap());
        child.arg("--home").arg(self.home()).args(arguments);
        child
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        Process::run("waybill", self.command(arguments), self.scratch.path(), Duration::from_secs(30)).await.unwrap()
    }

    fn serve(&self, arguments: &[&str]) -> Process {
        Process::spawn(arguments[0], self.command(arguments), self.scratch.path()).unwrap()
    }

    fn nats_server(&self) -> Process {
        let mut child = command(find::program("nats-server", "run `infra/justw test`").unwrap());
        child.args(["-c", "nats-server.conf"]).current_dir(self.home());
        Process::spawn("nats-server", child, self.scratch.path()).unwrap()
    }

    fn client(&self, authority: &Path) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(&std::fs::read(authority).unwrap()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap()
    }

    /// Waits until the gateway's readiness says this; by whoever vouches for its certificate.
    async fn until_ready(&self, authority: &Path, ready: bool) {
        let url = format!("https://{}/readyz", self.host(&self.gateway));
        let answered = eventually(PATIENCE, "the gateway's readiness", async || {
            // A new connection each time, which sees the certificate of now.
            let answer = self.client(authority).get(&url).send().await.ok()?;
            (answer.status().is_success() == ready).then_some(())
        });
        answered.await.unwrap();
    }
}

#[tokio::test]
async fn beyond_loopback_nothing_goes_in_the_clear() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = require!(Place::new(require!(own_address())).await);
    let home = place.home();
    let settings = std::fs::read_to_string(home.join("waybill.env")).unwrap();
    assert!(settings.contains("WAYBILL_NATS_URL=tls://"), "{settings}");
    let nats = place.nats_server();
    let _scheduler = place.serve(&["scheduler"]);
    let _gateway = place.serve(&["gateway"]);
    let authority = home.join("tls/ca.pem");
    place.until_ready(&authority, true).await;
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(format!("http://{}/readyz", place.host(&place.gateway))).send().await.is_err());
    std::fs::write(home.join("creds.json"), json!({ "USERNAME": "u", "PASSWORD": "p" }).to_string()).unwrap();
    let creds = home.join("creds.json").display().to_string();
    let put =
        place.run(&["secrets", "put", "team", "--workspace", "acme", "--registry", "ghcr.io", "--creds", &creds]).await;
    assert!(put.status.success(), "{}{}", put.stdout, put.stderr);
    let told = place.run(&["doctor"]).await.stdout;
    assert!(told.contains("https://"), "the gateway is asked by TLS: {told}");

    // Another certificate, of another authority.
    let other = PrivateCa::for_hosts(&[&place.address]).unwrap();
    std::fs::copy(other.key(), home.join("tls/gateway/key.pem")).unwrap();
    std::fs::copy(other.certificate(), home.join("tls/gateway/cert.pem")).unwrap();
    place.until_ready(other.file(), true).await;

    // A server in the same place that offers no TLS, as somebody between would have it.
    drop(nats);
    let conf = home.join("nats-server.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    let stripped: String =
        text.lines().filter(|line| !line.starts_with("tls {")).map(|line| format!("{line}\n")).collect();
    assert_ne!(text, stripped);
    std::fs::write(&conf, stripped).unwrap();
    let stripped = place.nats_server();
    stripped.wait_for_line(PATIENCE, |line| line.contains("Server is ready")).await.unwrap();
    place.until_ready(other.file(), false).await;
    let told = place.run(&["doctor"]).await;
    assert!(told.status.code() == Some(1) && told.stdout.contains("no server can be reached"), "{}", told.stdout);
    drop(stripped);
    std::fs::write(&conf, text).unwrap();
    let _nats = place.nats_server();
    place.until_ready(other.file(), true).await;
}
