//! Credentials as a client sends them: an error never repeats a value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waybill_domain::{
    credentials::{CredentialInput, Credentials},
    reference::ImageReference,
};

const HOSTS: [&str; 4] = [
    "registry.example.com/team/app:1",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app",
    "europe-docker.pkg.dev/project/repository/app",
    "team.azurecr.io/app",
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(input) = serde_json::from_slice::<CredentialInput>(bytes) else { return };
    for image in HOSTS {
        let image = ImageReference::parse(image).expect("a reference");
        if let Err(error) = Credentials::parse(&input, &image) {
            let told = format!("{error} {error:?} {input:?}");
            assert!(!told.contains("canary-5c1d"), "an error repeats a value");
        }
    }
});
