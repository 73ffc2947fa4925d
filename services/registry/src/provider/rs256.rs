//! Signed JSON Web Tokens (RFC 7515) with RS256, by the same ring that TLS uses.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::RsaSigningKey,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey as _,
};
use serde_json::Value;
use waybill_domain::credentials::Secret;

/// Signs the claims with an RSA key in PEM (PKCS #1 or PKCS #8, 2048 bits or more).
///
/// # Errors
/// When this is no such key.
pub(super) fn sign(header: &Value, claims: &Value, key: &Secret) -> Result<Secret, NoRsaKey> {
    let der = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| NoRsaKey)?;
    let key = RsaSigningKey::new(&der).map_err(|_| NoRsaKey)?;
    let signer = key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).ok_or(NoRsaKey)?;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = signer.sign(message.as_bytes()).map_err(|_| NoRsaKey)?;
    Ok(Secret::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

/// The text is no RSA key. What is wrong with it in detail might repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an RSA key in PEM, of 2048 bits or more")]
pub(super) struct NoRsaKey;
