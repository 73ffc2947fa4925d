//! A Kubernetes cluster, as far as it signs service account tokens: a key on P-256, its JWK set, and tokens as a kubelet has
//! them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// `iss` of the tokens.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// `aud` of the tokens.
pub const AUDIENCE: &str = "waybill";

/// A signing key, by the name that its tokens give it.
pub struct Cluster {
    key: EcdsaKeyPair,
    id: &'static str,
}

impl Cluster {
    /// With a new key.
    pub fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).unwrap();
        Self { key, id }
    }

    /// The public key (RFC 7517), as `kubectl get --raw /openid/v1/jwks` has it in its set.
    pub fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!({ "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y })
    }

    /// A token of a service account, good for an hour.
    pub fn token(&self, namespace: &str, name: &str) -> String {
        self.sign(&claims(namespace, name))
    }

    /// A token that says this.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "alg": "ES256", "kid": self.id }), claims)
    }

    /// A token that says this, in a header of one's own.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a kubelet's token says, good for an hour.
pub fn claims(namespace: &str, name: &str) -> Value {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = since_epoch.as_secs();
    json!({
        "aud": [AUDIENCE], "iss": ISSUER, "iat": now, "nbf": now, "exp": now + 3600,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": "u" } },
    })
}
