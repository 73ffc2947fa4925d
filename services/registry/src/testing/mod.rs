//! What the tests of this crate and of the worker share: tiny servers, and captured log lines. It uses nothing of its crate,
//! so that the worker includes it as it is.

mod azure;
mod cloud;
mod ecr;
mod google;
mod image;
mod lines;
mod registry;
mod server;
mod sts;
mod tls;

pub(crate) use azure::{TENANT, azure};
pub(crate) use cloud::{Call, FakeCloud, Script};
pub(crate) use ecr::FakeEcr;
pub(crate) use google::{AUDIENCE, EMAIL, RSA_KEY, TOKEN_URI, google};
pub(crate) use image::{Image, digest_of};
pub(crate) use lines::Lines;
pub(crate) use registry::{Answer, Asked, FakeRegistry, answer, basic_header, envelope};
pub(crate) use server::{Server, nobody};
pub(crate) use sts::{FakeSts, ROLE_KEY, ROLE_SECRET, ROLE_SESSION};
pub(crate) use tls::PrivateCa;

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Asserts that a secret is in a text neither as it is nor inside any Base64.
pub(crate) fn assert_absent(secret: &str, place: &str, text: &str) {
    assert!(!text.contains(secret), "a secret is in {place}");
    for before in 0..3 {
        let encoded = STANDARD.encode([&vec![b'x'; before], secret.as_bytes()].concat());
        // Without the characters that also hold bits of what stands around it.
        let inner = &encoded[4..encoded.len() - 4];
        assert!(!text.contains(inner), "a secret is in {place}, in Base64");
    }
}
