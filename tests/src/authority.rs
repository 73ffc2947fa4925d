//! A certificate authority that no trust store knows, and the certificate of a loopback server that it vouches for.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Client;

use crate::error::StartError;
use crate::scratch::Scratch;

/// The names of a server on this machine.
const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// Files in PEM: the authority's certificate, and a server's certificate and key for `localhost` and 127.0.0.1.
#[derive(Debug)]
pub struct PrivateCa {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    _scratch: Scratch,
}

impl PrivateCa {
    /// Makes one.
    pub fn new() -> Result<Self, StartError> {
        Self::for_hosts(&[])
    }

    /// Makes one whose server's certificate ended in 2020.
    pub fn expired() -> Result<Self, StartError> {
        Self::made(&LOOPBACK, Some(2020))
    }

    /// Makes one whose server is this host and no other, loopback neither.
    pub fn only_for(host: &str) -> Result<Self, StartError> {
        Self::made(&[host], None)
    }

    /// Makes one whose server may be these hosts as well.
    pub fn for_hosts(hosts: &[&str]) -> Result<Self, StartError> {
        Self::made(&[&LOOPBACK, hosts].concat(), None)
    }

    fn made(names: &[&str], ended: Option<i32>) -> Result<Self, StartError> {
        let scratch = Scratch::new("authority")?;
        let made = make(names, ended).map_err(std::io::Error::other).map_err(StartError::setup("a certificate"))?;
        let [ca, certificate, key] = made;
        Ok(Self {
            ca: scratch.file("ca.pem", ca)?,
            certificate: scratch.file("server.pem", certificate)?,
            key: scratch.file("server.key", key)?,
            _scratch: scratch,
        })
    }

    /// The authority's certificate.
    pub fn file(&self) -> &Path {
        &self.ca
    }

    /// The server's certificate.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The server's key.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// An HTTP client that trusts this authority.
    pub fn client(&self) -> Result<Client, StartError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pem = std::fs::read(&self.ca).map_err(StartError::setup("the authority's file"))?;
        let client = reqwest::Certificate::from_pem(&pem)
            .and_then(|root| Client::builder().no_proxy().tls_certs_only([root]).build());
        client.map_err(std::io::Error::other).map_err(StartError::setup("an HTTP client"))
    }
}

/// The authority's certificate, that of a server with these names, which may have ended with a year, and the server's key.
fn make(names: &[&str], ended: Option<i32>) -> Result<[String; 3], rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.not_after = ended.map_or(params.not_after, |year| rcgen::date_time_ymd(year, 1, 1));
    Ok([issuer.pem(), params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()])
}
