//! A registry, a cloud or a proxy that cannot be talked to: which of them, and why.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use waybill_tests::{
    authority::PrivateCa,
    ecr::ECR_HOST,
    port::Port,
    registry::{Registry, Scheme},
    require,
    scratch::Scratch,
    stack::Plan,
};

use super::{build_and_run, expect};

/// What a server does with whoever connects.
enum Manner {
    /// It shows this certificate.
    Shows(Arc<ServerConfig>),
    /// It ends the handshake with the alert `handshake_failure` (RFC 8446, section 6).
    Refuses,
}

const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// `127.0.0.1:<port>` of a server that gets no further than the handshake. It ends with the test's process.
fn serve(manner: Manner) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = listener.local_addr()?.to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever breaks off has seen what it came for.
            let _ = stream.and_then(|stream| shake_hands(stream, &manner));
        }
    });
    Ok(host)
}

fn shake_hands(mut stream: std::net::TcpStream, manner: &Manner) -> io::Result<()> {
    match manner {
        Manner::Shows(config) => {
            let mut connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut stream)?;
            }
            Ok(())
        }
        Manner::Refuses => {
            // The record's type, version and length, then what it holds (RFC 8446, section 5.1).
            let mut head = [0; 5];
            stream.read_exact(&mut head)?;
            let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            stream.read_exact(&mut hello)?;
            stream.write_all(&HANDSHAKE_FAILURE)
        }
    }
}

fn showing(authority: &PrivateCa) -> Manner {
    let certificate = CertificateDer::from_pem_file(authority.certificate()).unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.key()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Manner::Shows(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()))
}

#[tokio::test]
async fn each_failed_connection_is_told_apart() {
    let closed = Port::reserve().unwrap();
    let tls_less = Registry::start(Scheme::Basic).unwrap();
    let plain = tls_less.host();
    let [unknown, expired, elsewhere] = [
        PrivateCa::new().unwrap(),
        PrivateCa::expired().unwrap(),
        PrivateCa::only_for("registry.example.com").unwrap(),
    ];
    let scratch = Scratch::new("trusted").unwrap();
    let trusted: Vec<String> =
        [&expired, &elsewhere].iter().map(|one| std::fs::read_to_string(one.file()).unwrap()).collect();
    let trusted = scratch.file("trusted.pem", trusted.concat()).unwrap();
    let plan = Plan::default()
        .setting("WAYBILL_WORKER_CA_FILE", trusted.display().to_string())
        .setting("WAYBILL_AWS_ECR_ENDPOINT", format!("http://{}", closed.host()))
        .setting("HTTPS_PROXY", format!("http://{}", closed.host()))
        .setting("NO_PROXY", "127.0.0.1");
    let stack = require!(plan.start().await);

    let [unknown, expired, elsewhere] =
        [&unknown, &expired, &elsewhere].map(|authority| serve(showing(authority)).unwrap());
    let refusing = serve(Manner::Refuses).unwrap();
    let aws = json!({ "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1" });
    let login = || json!("u:p");
    let cases = [
        ("unknown", unknown.as_str(), login(), (1, "pull", "tls_unknown_authority", "authority")),
        ("expired", &expired, login(), (1, "pull", "tls_expired", "has expired")),
        ("elsewhere", &elsewhere, login(), (1, "pull", "tls_wrong_host", "for another host")),
        ("refusing", &refusing, login(), (1, "pull", "tls", "no TLS connection to")),
        ("plain", &plain, login(), (1, "pull", "plain_http", "speaks plain HTTP")),
        ("proxied", "registry.example.com", login(), (1, "pull", "proxy", "the proxy on the way to")),
        ("cloud", ECR_HOST, aws, (1, "provider", "token_exchange_unreachable", "the cloud could not be asked")),
    ];
    for (name, host, credentials, expected) in cases {
        build_and_run(&stack, name, &format!("{host}/team/app:1"), credentials).await;
        expect(&stack, ["container", name], expected).await;
    }
}
