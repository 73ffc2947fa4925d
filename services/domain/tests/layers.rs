//! Dependencies go one way, and services do not know each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

/// Every crate, and the crates of ours that it may build on.
const LAYERS: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("services/domain", &["waybill-schemas"]),
    ("services/platform", &["waybill-schemas", "waybill-domain"]),
    ("services/registry", &["waybill-schemas", "waybill-domain"]),
    ("services/gateway", &["waybill-schemas", "waybill-domain", "waybill-platform", "waybill-registry"]),
    ("services/issuer", &["waybill-schemas", "waybill-domain", "waybill-platform"]),
    ("services/scheduler", &["waybill-schemas", "waybill-domain", "waybill-platform", "waybill-registry"]),
    ("services/worker", &["waybill-schemas", "waybill-domain", "waybill-platform", "waybill-registry"]),
    (
        "services/waybill",
        &[
            "waybill-schemas",
            "waybill-domain",
            "waybill-platform",
            "waybill-registry",
            "waybill-gateway",
            "waybill-issuer",
            "waybill-scheduler",
            "waybill-worker",
        ],
    ),
];

#[test]
fn crates_build_only_on_the_layers_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (folder, below) in LAYERS {
        let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml")).unwrap();
        let ours = dependencies(&manifest);
        // For its own tests a crate may ask itself for what it keeps out of its default features.
        let own = manifest.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let allowed: BTreeSet<&str> = below.iter().copied().chain(own).collect();
        assert!(ours.is_subset(&allowed), "{folder} builds on {ours:?}, and may on {allowed:?}");
    }
    let listed: BTreeSet<String> = LAYERS.iter().map(|(folder, _)| (*folder).to_owned()).collect();
    for entry in fs::read_dir(root.join("services")).unwrap() {
        let name = format!("services/{}", entry.unwrap().file_name().into_string().unwrap());
        assert!(listed.contains(&name), "{name} has no row");
    }
}

/// Crates of ours in a manifest, those for its tests included.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let keys = manifest.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    keys.filter(|key| key.starts_with("waybill-")).collect()
}

#[test]
fn a_dependency_is_seen() {
    let manifest = "name = \"waybill-x\"\nwaybill-gateway.workspace = true\nwaybill-worker = { path = \"..\" }\n";
    assert_eq!(dependencies(manifest), BTreeSet::from(["waybill-gateway", "waybill-worker"]));
}
