//! A service account token (JWT, RFC 7519): is it the cluster's own, meant for us, and good now?

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Validation,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    decode, decode_header,
    errors::{Error as JwtError, ErrorKind},
    jwk::Jwk,
    signature,
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use waybill_domain::credentials::Secret;
use waybill_schemas::v1::PodIdentity;

/// What Kubernetes signs tokens with. Those with a shared secret are left out: who knows a public key could sign.
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::ES256, Algorithm::ES384];

/// Why a token is not accepted. Nothing of the token is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error(
        "the pod's token is no service account token: set tokenAttributes in the kubelet's CredentialProviderConfig"
    )]
    Form,
    #[error("the pod's token is signed by an algorithm that is not accepted (RS256, RS384, RS512, ES256, ES384 are)")]
    Algorithm,
    #[error(
        "the pod's token is signed by none of the issuer's keys; is keys_file of this cluster, and as new as its keys?"
    )]
    Signature,
    #[error("the pod's token has another issuer than the settings of pod identities name")]
    Issuer,
    #[error(
        "the pod's token is for another audience; serviceAccountTokenAudience must be the audience in the settings"
    )]
    Audience,
    #[error("the pod's token has expired, or is not valid yet; are the clocks of node and cluster right?")]
    Time,
    #[error("the pod's token names no service account of a namespace")]
    Subject,
}

impl From<&JwtError> for TokenError {
    fn from(error: &JwtError) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidKeyFormat | ErrorKind::UnsupportedAlgorithm => {
                Self::Signature
            }
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => Self::Algorithm,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => Self::Time,
            ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Self::Issuer,
            ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Self::Audience,
            // A token without an end is a legacy one, which Kubernetes never revokes.
            ErrorKind::MissingRequiredClaim(claim) if claim == "exp" => Self::Time,
            _ => Self::Form,
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Name of the key that a token says it is signed with.
pub(super) fn key_id(token: &Secret) -> Result<Option<String>, TokenError> {
    let header = decode_header(token.expose()).map_err(|error| match error.kind() {
        // An algorithm that the crate does not know is no JSON for it.
        ErrorKind::Json(_) => TokenError::Algorithm,
        _ => TokenError::Form,
    })?;
    if ALGORITHMS.contains(&header.alg) { Ok(header.kid) } else { Err(TokenError::Algorithm) }
}

/// What a token must say.
#[derive(Debug)]
pub(super) struct Verifier {
    expected: Validation,
}

impl Verifier {
    pub(super) fn new(issuer: &str, audience: &str) -> Self {
        // A provider that is installed already is this one: nothing else in the process verifies tokens.
        let _ = PROVIDER.install_default();
        let mut expected = Validation::new(Algorithm::RS256);
        expected.set_issuer(&[issuer]);
        expected.set_audience(&[audience]);
        expected.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        expected.validate_nbf = true;
        Self { expected }
    }

    /// The service account of a token that one of the keys has signed.
    pub(super) fn verify(&self, token: &Secret, keys: &[Jwk]) -> Result<PodIdentity, TokenError> {
        let header = decode_header(token.expose()).map_err(|_| TokenError::Form)?;
        let expected = Validation { algorithms: vec![header.alg], ..self.expected.clone() };
        let mut found = Err(TokenError::Signature);
        for key in keys.iter().filter_map(|key| DecodingKey::from_jwk(key).ok()) {
            match decode::<Claims>(token.expose(), &key, &expected) {
                Ok(decoded) => return account(&decoded.claims.sub).ok_or(TokenError::Subject),
                // A key of another kind says nothing of the token.
                Err(error) => match TokenError::from(&error) {
                    TokenError::Signature => {}
                    other => found = Err(other),
                },
            }
        }
        found
    }
}

/// `system:serviceaccount:<namespace>:<name>`, as Kubernetes spells a service account's user name.
fn account(subject: &str) -> Option<PodIdentity> {
    let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    // Names of Kubernetes' objects (RFC 1123): whatever else stands there is not shown to people.
    let is_name = |text: &str| {
        !text.is_empty()
            && text.len() <= 253
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    let both = is_name(namespace) && is_name(name);
    both.then(|| PodIdentity { namespace: namespace.to_owned(), service_account: name.to_owned() })
}

/// The signatures of `ring`, which this process has for TLS anyway; the crate's own choices are C code or a second family of
/// curves and RSA.
static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: no_signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, JwtError> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, JwtError> {
    let check = match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { .. }) => Check::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::RS384, DecodingKeyKind::RsaModulusExponent { .. }) => Check::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::RS512, DecodingKeyKind::RsaModulusExponent { .. }) => Check::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(_)) => Check::Curve(&ECDSA_P256_SHA256_FIXED),
        (Algorithm::ES384, DecodingKeyKind::SecretOrDer(_)) => Check::Curve(&ECDSA_P384_SHA384_FIXED),
        _ => return Err(ErrorKind::InvalidKeyFormat.into()),
    };
    Ok(Box::new(Signed { algorithm: *algorithm, key: key.clone(), check }))
}

enum Check {
    Rsa(&'static RsaParameters),
    Curve(&'static EcdsaVerificationAlgorithm),
}

struct Signed {
    algorithm: Algorithm,
    key: DecodingKey,
    check: Check,
}

impl signature::Verifier<Vec<u8>> for Signed {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (&self.check, self.key.kind()) {
            (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, given)
            }
            (Check::Curve(algorithm), DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(*algorithm, point).verify(message, given)
            }
            _ => return Err(signature::Error::new()),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Signed {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
