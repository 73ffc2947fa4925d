//! TLS of the gateway: a certificate and its key, read again whenever the files change.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use waybill_platform::config::read_private;

/// How often the files are looked at. Whoever renews certificates does so days before the old one ends.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where the certificate and its key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM: the gateway's certificate, then those of the authorities between it and the root.
    pub certificate: PathBuf,
    /// PEM: its private key, which only this process may read.
    pub key: PathBuf,
}

/// What clients are shown now.
#[derive(Debug)]
pub(crate) struct Served {
    files: TlsFiles,
    pair: RwLock<Arc<CertifiedKey>>,
}

impl TlsFiles {
    /// Reads both files.
    ///
    /// # Errors
    /// In words that name the file, and nothing of what is in it.
    pub(crate) fn read(&self) -> Result<CertifiedKey, String> {
        let shown = self.certificate.display();
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain = chain.map_err(|_| format!("WAYBILL_GATEWAY_TLS_CERT: {shown} holds no certificates in PEM"))?;
        if chain.is_empty() {
            return Err(format!("WAYBILL_GATEWAY_TLS_CERT: {shown} holds no certificates in PEM"));
        }
        let text = read_private(&self.key).map_err(|problem| format!("WAYBILL_GATEWAY_TLS_KEY: {problem}"))?;
        let key = PrivateKeyDer::from_pem_slice(text.expose().as_bytes())
            .map_err(|_| format!("WAYBILL_GATEWAY_TLS_KEY: {} holds no private key in PEM", self.key.display()))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| format!("WAYBILL_GATEWAY_TLS_KEY: not the key of the certificate in {shown}: {error}"))
    }
}

impl Served {
    /// The pair of the files, and an acceptor that shows it.
    ///
    /// # Errors
    /// Those of [`TlsFiles::read`].
    pub(crate) fn read(files: TlsFiles) -> Result<(Arc<Self>, TlsAcceptor), String> {
        let pair = RwLock::new(Arc::new(files.read()?));
        let served = Arc::new(Self { files, pair });
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| error.to_string())?.with_no_client_auth();
        let mut config = config.with_cert_resolver(served.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((served, TlsAcceptor::from(Arc::new(config))))
    }

    /// Looks at the files for ever. A pair that cannot be used is told once, and the one from before is served.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut told = None;
        loop {
            sleep(LOOK_EVERY).await;
            match self.files.read() {
                Ok(pair) => {
                    told = None;
                    self.replace(pair);
                }
                Err(problem) if told.as_ref() != Some(&problem) => {
                    tracing::warn!(problem, "the new certificate cannot be used, serving the one from before");
                    told = Some(problem);
                }
                Err(_) => {}
            }
        }
    }

    fn replace(&self, pair: CertifiedKey) {
        let mut served = self.pair.write().unwrap_or_else(PoisonError::into_inner);
        if served.cert != pair.cert {
            *served = Arc::new(pair);
            tracing::info!("serving a new certificate");
        }
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;

    fn write_pair(folder: &Path, name: &str) -> TlsFiles {
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        fs::write(&files.certificate, pair.cert.pem()).unwrap();
        fs::write(&files.key, pair.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    #[test]
    fn a_pair_that_cannot_be_used_is_named_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_pair(folder.path(), "localhost");
        let (served, _) = Served::read(files.clone()).unwrap();
        let first = served.pair.read().unwrap().cert.clone();
        let key = fs::read_to_string(&files.key).unwrap();
        write_pair(folder.path(), "other");
        served.replace(files.read().unwrap());
        assert_ne!(served.pair.read().unwrap().cert, first);

        fs::write(&files.key, &key).unwrap();
        let cases: [(&dyn Fn(), &str); 4] = [
            (&|| {}, "not the key of the certificate"),
            (&|| fs::write(&files.key, "canary").unwrap(), "holds no private key"),
            (&|| fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap(), "chmod 600"),
            (&|| fs::write(&files.certificate, "canary").unwrap(), "holds no certificates"),
        ];
        for (damage, says) in cases {
            damage();
            let problem = files.read().unwrap_err();
            assert!(problem.contains(says) && problem.starts_with("WAYBILL_GATEWAY_TLS_"), "{problem}");
            assert!(!problem.contains("canary"), "{problem}");
        }
    }
}
