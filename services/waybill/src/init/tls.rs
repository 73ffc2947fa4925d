//! Certificates: an authority of this home folder, and one certificate for each server and the gateway. Files that are there
//! stay, so that certificates of another authority take the places of these.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::{InitError, files::Home};

/// The authority's certificate, which clients trust.
pub(super) const CA: &str = "tls/ca.pem";
const CA_KEY: &str = "tls/ca.key";
/// How long a server's certificate holds. Removing it and running `waybill init` again makes the next one.
const DAYS: i64 = 825;
const CA_DAYS: i64 = 3650;

/// The authority, made once.
pub(super) struct Authority {
    pem: Vec<u8>,
    /// None where the authority is another one, whose key is elsewhere.
    issuer: Option<Issuer<'static, KeyPair>>,
}

impl Authority {
    /// Reads or makes it.
    pub(super) fn open(home: &mut Home) -> Result<Self, InitError> {
        let is_foreign = home.has(CA) && !home.has(CA_KEY);
        if is_foreign {
            let pem = home.keep_or_write(Path::new(CA), || Err(InitError::Random))?;
            return Ok(Self { pem, issuer: None });
        }
        let key = home.keep_or_write(Path::new(CA_KEY), new_key)?;
        let key = read_key(&key, CA_KEY)?;
        let pem = home.keep_or_write(Path::new(CA), || Ok(ca_params().self_signed(&key)?.pem().into_bytes()))?;
        Ok(Self { pem, issuer: Some(Issuer::new(ca_params(), key)) })
    }

    /// A folder with `cert.pem`, `key.pem` and `ca.pem` for a server of these names.
    pub(super) fn certify(&self, home: &mut Home, folder: &str, names: &[String]) -> Result<(), InitError> {
        let [certificate, key, ca] = ["cert", "key", "ca"].map(|name| format!("{folder}/{name}.pem"));
        home.replace(Path::new(&ca), &self.pem)?;
        let Some(issuer) = &self.issuer else {
            let missing = [&certificate, &key].into_iter().find(|file| !home.has(file));
            return missing.map_or(Ok(()), |file| Err(InitError::Certificate { file: file.clone() }));
        };
        let pair = home.keep_or_write(Path::new(&key), new_key)?;
        let pair = read_key(&pair, &key)?;
        home.keep_or_write(Path::new(&certificate), || {
            let mut params = CertificateParams::new(names.to_vec())?;
            // Servers of a cluster are clients of each other.
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name = name("Waybill");
            limit(&mut params, DAYS);
            Ok(params.signed_by(&pair, issuer)?.pem().into_bytes())
        })?;
        Ok(())
    }
}

/// The names under which something at a host is reached: from elsewhere, and from its own machine.
pub(super) fn names(host: &str) -> Vec<String> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    if !names.contains(&host) {
        names.push(host);
    }
    names
}

fn new_key() -> Result<Vec<u8>, InitError> {
    Ok(KeyPair::generate()?.serialize_pem().into_bytes())
}

fn read_key(pem: &[u8], file: &str) -> Result<KeyPair, InitError> {
    KeyPair::from_pem(&String::from_utf8_lossy(pem)).map_err(|_| InitError::Key { path: file.into() })
}

/// The same at each run: with the key they name the authority whose certificate is there.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = name("Waybill's own authority");
    limit(&mut params, CA_DAYS);
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn limit(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    // Clocks of other machines may be behind this one.
    params.not_before = now.saturating_sub(Duration::days(1));
    params.not_after = now.saturating_add(Duration::days(days));
}
