//! A Docker configuration file: it is read or refused, and so is the look-up of any image in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waybill_domain::{
    credentials::{DockerConfig, read_text},
    reference::ImageReference,
};

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = read_text(bytes) else { return };
    let Ok(config) = DockerConfig::read(text.expose()) else { return };
    for image in ["registry.example.com/team/app:1", "app", "localhost:5000/a/b/c"] {
        let image = ImageReference::parse(image).expect("a reference");
        let _ = config.login(image.registry(), Some(image.repository()));
    }
});
