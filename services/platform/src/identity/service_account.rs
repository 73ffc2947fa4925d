//! Service accounts' tokens of Kubernetes (JWT), checked with the cluster's published keys (JWKS, RFC 7517).

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// Clocks may differ by this much.
const LEEWAY_SECONDS: i64 = 30;

/// Which tokens are taken.
#[derive(Clone)]
pub struct ServiceAccounts {
    /// Whose tokens: `iss`.
    pub issuer: String,
    /// What they must have been made for: `aud`.
    pub audience: String,
    /// The cluster's keys, as `/openid/v1/jwks` of its API server has them.
    pub keys: KeySet,
}

impl fmt::Debug for ServiceAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccounts")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// Public keys.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone, Deserialize)]
struct Key {
    #[serde(default)]
    kid: String,
    #[serde(flatten)]
    material: Material,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kty")]
enum Material {
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
    #[serde(rename = "EC")]
    Ec { crv: String, x: String, y: String },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(default)]
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: i64,
    #[serde(default, rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
    #[default]
    None,
}

#[derive(Deserialize, Default)]
struct Kubernetes {
    #[serde(default)]
    namespace: String,
    node: Option<Named>,
    pod: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Whose token it is. Nothing of this is claimed by its bearer: the cluster signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub subject: String,
    /// Its namespace.
    pub namespace: String,
    /// The pod that the token was made for.
    pub pod: Option<String>,
    /// The node that the pod is on.
    pub node: Option<String>,
}

/// Why a token is not taken; nothing of it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAccountError {
    /// The text has another form.
    #[error("not a service account's token")]
    Form,
    /// The key is not among the cluster's.
    #[error("the token is signed by none of the cluster's keys; are the keys up to date?")]
    Key,
    /// The signature does not fit.
    #[error("the token's signature is not the cluster's")]
    Signature,
    /// It is for somebody else.
    #[error("the token was made for another audience, or by another issuer")]
    Audience,
    /// It is too late, or too early.
    #[error("the token has ended, or does not begin yet")]
    Time,
}

impl ServiceAccounts {
    /// Checks a token at a time in Unix seconds, and says whose it is.
    ///
    /// # Errors
    /// [`ServiceAccountError`].
    pub fn check(&self, token: &str, now: i64) -> Result<ServiceAccount, ServiceAccountError> {
        use ServiceAccountError as Bad;
        let (signed, signature) = token.trim().rsplit_once('.').ok_or(Bad::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Bad::Form)?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Bad::Form);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Bad::Form)?;
        let signature = decode(signature)?;
        let mut named = self.keys.keys.iter().filter(|key| key.kid == header.kid).peekable();
        if named.peek().is_none() {
            return Err(Bad::Key);
        }
        if !named.any(|key| key.material.has_signed(&header.alg, signed.as_bytes(), &signature)) {
            return Err(Bad::Signature);
        }
        // What is not signed by the cluster is not even looked at.
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| Bad::Form)?;
        let is_for = |audience: &String| *audience == self.audience;
        let is_meant = match &claims.aud {
            Audience::One(audience) => is_for(audience),
            Audience::Many(audiences) => audiences.iter().any(is_for),
            Audience::None => false,
        };
        if claims.iss != self.issuer || !is_meant {
            return Err(Bad::Audience);
        }
        if claims.exp.saturating_add(LEEWAY_SECONDS) <= now || claims.nbf.saturating_sub(LEEWAY_SECONDS) > now {
            return Err(Bad::Time);
        }
        let Kubernetes { namespace, node, pod } = claims.kubernetes;
        let name = |named: Named| named.name;
        Ok(ServiceAccount { subject: claims.sub, namespace, pod: pod.map(name), node: node.map(name) })
    }
}

impl Material {
    /// True if this key signed it. The key decides how: what the token names counts only if it is that.
    fn has_signed(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        match self {
            Self::Rsa { n, e } if algorithm == "RS256" => {
                let key = RsaPublicKeyComponents { n: decode(n), e: decode(e) };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
            Self::Ec { crv, x, y } if algorithm == "ES256" && crv == "P-256" => {
                let point: Vec<u8> = [vec![4], decode(x), decode(y)].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
            }
            Self::Rsa { .. } | Self::Ec { .. } | Self::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_700_000_000;

    struct Cluster {
        key: EcdsaKeyPair,
        accounts: ServiceAccounts,
    }

    impl Cluster {
        fn new() -> Self {
            let random = SystemRandom::new();
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
            let point = key.public_key().as_ref();
            let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
            let keys = json!({ "keys": [
                { "kty": "OKP", "kid": "other", "crv": "Ed25519", "x": "AA" },
                { "kty": "EC", "kid": "k1", "use": "sig", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) },
            ] });
            let keys = serde_json::from_value(keys).unwrap();
            let (issuer, audience) = ("https://cluster.example".to_owned(), "waybill".to_owned());
            Self { key, accounts: ServiceAccounts { issuer, audience, keys } }
        }

        fn token(&self, header: &Value, claims: &Value) -> String {
            let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", encode(header), encode(claims));
            let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
        }
    }

    fn claims() -> Value {
        json!({
            "iss": "https://cluster.example", "aud": ["waybill"], "exp": NOW + 600, "nbf": NOW,
            "sub": "system:serviceaccount:waybill:worker",
            "kubernetes.io": {
                "namespace": "waybill", "node": { "name": "node-7", "uid": "u" }, "pod": { "name": "p", "uid": "u" },
            },
        })
    }

    #[test]
    fn a_token_says_which_node_its_pod_is_on() {
        let cluster = Cluster::new();
        let token = cluster.token(&json!({ "alg": "ES256", "kid": "k1" }), &claims());
        let account = cluster.accounts.check(&token, NOW).unwrap();
        assert_eq!(account.subject, "system:serviceaccount:waybill:worker");
        assert_eq!((account.node.as_deref(), account.pod.as_deref()), (Some("node-7"), Some("p")));
        let mut one = claims();
        one["aud"] = json!("waybill");
        one["kubernetes.io"] = json!({});
        let token = cluster.token(&json!({ "alg": "ES256", "kid": "k1" }), &one);
        assert_eq!(cluster.accounts.check(&token, NOW).unwrap().node, None);
    }

    #[test]
    fn anything_else_is_refused() {
        use ServiceAccountError as Bad;
        let (cluster, stranger) = (Cluster::new(), Cluster::new());
        let good = json!({ "alg": "ES256", "kid": "k1" });
        let with = |key: &str, value: Value| {
            let mut claims = claims();
            claims[key] = value;
            cluster.token(&good, &claims)
        };
        let cases = [
            (String::new(), Bad::Form),
            ("a.b.c".to_owned(), Bad::Form),
            (stranger.token(&good, &claims()), Bad::Signature),
            (cluster.token(&json!({ "alg": "ES256", "kid": "k2" }), &claims()), Bad::Key),
            (cluster.token(&json!({ "alg": "none", "kid": "k1" }), &claims()), Bad::Signature),
            (cluster.token(&json!({ "alg": "HS256", "kid": "k1" }), &claims()), Bad::Signature),
            (cluster.token(&json!({ "alg": "RS256", "kid": "k1" }), &claims()), Bad::Signature),
            (cluster.token(&json!({ "alg": "ES256", "kid": "other" }), &claims()), Bad::Signature),
            (with("aud", json!(["https://kubernetes.default.svc"])), Bad::Audience),
            (with("aud", Value::Null), Bad::Audience),
            (with("iss", json!("https://other.example")), Bad::Audience),
            (with("exp", json!(NOW - 31)), Bad::Time),
            (with("nbf", json!(NOW + 31)), Bad::Time),
        ];
        for (token, expected) in cases {
            assert_eq!(cluster.accounts.check(&token, NOW), Err(expected), "{token}");
        }
    }
}
