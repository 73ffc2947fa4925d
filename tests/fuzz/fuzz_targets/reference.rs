//! An image reference: its normal form means the same image.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waybill_domain::reference::{ImageReference, RegistryHost};

fuzz_target!(|text: &str| {
    if let Ok(host) = RegistryHost::parse(text) {
        assert_eq!(RegistryHost::parse(host.as_str()).as_ref(), Ok(&host));
    }
    if let Ok(image) = ImageReference::parse(text) {
        assert_eq!(ImageReference::parse(&image.to_string()), Ok(image));
    }
});
