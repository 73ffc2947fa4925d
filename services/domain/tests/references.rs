//! Image references and registry hosts against their tables, and for any text at all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test fails by panicking, and its helpers are outside #[test]"
)]

#[path = "support/rows.rs"]
mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use support::{Row, rows, variant};
use waybill_domain::reference::{
    AwsPartition, AzureCloud, ImageReference, ReferenceError, Registry, RegistryHost, secret_name,
};

const REFERENCES: &str = include_str!("testdata/references.txt");
const HOSTS: &str = include_str!("testdata/hosts.txt");

#[test]
fn references_parse_as_the_table_says() {
    let cases = rows(REFERENCES);
    assert!(cases.len() >= 150, "only {} cases", cases.len());
    assert_distinct(&cases);
    for case in cases {
        match (case.raw(1), ImageReference::parse(&case.text(0))) {
            ("!", Err(refused)) => assert_eq!(variant(&refused), case.raw(2), "{case}"),
            (_, parsed) => assert_reference(&case, parsed),
        }
    }
}

/// A row that repeats another one's input tests nothing.
fn assert_distinct(cases: &[Row]) {
    let mut seen = BTreeSet::new();
    for case in cases {
        assert!(seen.insert(case.text(0)), "{case}: is in the table twice");
    }
}

fn assert_reference(case: &Row, parsed: Result<ImageReference, ReferenceError>) {
    let reference = parsed.unwrap_or_else(|refused| panic!("{case}: {refused}"));
    assert_eq!(reference.registry().as_str(), case.text(1), "{case}");
    assert_eq!(reference.repository(), case.text(2), "{case}");
    assert_eq!(reference.tag(), case.optional(3).as_deref(), "{case}");
    assert_eq!(reference.digest(), case.optional(4).as_deref(), "{case}");
    assert_eq!(describe(&reference.registry().kind()), case.text(5), "{case}");
    let shown = reference.to_string();
    assert_eq!(ImageReference::parse(&shown), Ok(reference), "{case}: {shown} must parse to the same");
}

#[test]
fn hosts_parse_as_the_table_says() {
    let cases = rows(HOSTS);
    assert_distinct(&cases);
    for case in cases {
        match (case.raw(1), RegistryHost::parse(&case.text(0))) {
            ("!", Err(refused)) => assert_eq!(variant(&refused), case.raw(2), "{case}"),
            (_, parsed) => {
                let host = parsed.unwrap_or_else(|refused| panic!("{case}: {refused}"));
                assert_eq!(host.as_str(), case.text(1), "{case}");
                assert_eq!(host.hostname(), case.text(2), "{case}");
                assert_eq!(host.port().map(|port| port.to_string()), case.optional(3), "{case}");
                assert_eq!(secret_name(&host).as_str(), case.text(4), "{case}");
                assert_eq!(RegistryHost::parse(host.as_str()), Ok(host), "{case}");
            }
        }
    }
}

#[test]
fn errors_never_repeat_the_input() {
    for case in rows(REFERENCES) {
        let text = case.text(0).replace("pass", "hunter2");
        if let Err(refused) = ImageReference::parse(&text) {
            let said = format!("{refused} {refused:?}");
            assert!(!said.contains("hunter2"), "{case}: {said}");
        }
    }
}

/// The kind as the table writes it.
fn describe(kind: &Registry) -> String {
    match kind {
        Registry::Ecr(ecr) => format!(
            "ecr {} {} {}{}{}",
            partition(ecr.partition),
            ecr.region,
            ecr.account,
            if ecr.fips { " fips" } else { "" },
            if ecr.dual_stack { " dual-stack" } else { "" },
        ),
        Registry::EcrPublic => "ecr-public".to_owned(),
        Registry::Gcr => "gcr".to_owned(),
        Registry::ArtifactRegistry { location } => format!("artifact-registry {location}"),
        Registry::Acr { name, cloud } => format!("acr {} {name}", azure(*cloud)),
        Registry::DockerHub => "docker-hub".to_owned(),
        Registry::Ghcr => "ghcr".to_owned(),
        Registry::Ngc => "ngc".to_owned(),
        Registry::Quay => "quay".to_owned(),
        Registry::Gitlab => "gitlab".to_owned(),
        Registry::Generic => "generic".to_owned(),
    }
}

fn partition(partition: AwsPartition) -> &'static str {
    match partition {
        AwsPartition::Standard => "aws",
        AwsPartition::UsGov => "aws-us-gov",
        AwsPartition::China => "aws-cn",
        AwsPartition::EuSovereign => "aws-eusc",
        AwsPartition::Iso => "aws-iso",
        AwsPartition::IsoB => "aws-iso-b",
        AwsPartition::IsoE => "aws-iso-e",
        AwsPartition::IsoF => "aws-iso-f",
    }
}

fn azure(cloud: AzureCloud) -> &'static str {
    match cloud {
        AzureCloud::Public => "public",
        AzureCloud::China => "china",
        AzureCloud::UsGov => "us-gov",
        AzureCloud::Germany => "germany",
    }
}

/// Text made of the pieces references are made of, so that a good part of it parses.
fn reference_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "docker://",
        "oci://",
        "localhost",
        "docker.io",
        "index.docker.io",
        "ghcr.io",
        "[::1]",
        "[2001:DB8::1]",
        "ubuntu",
        "library",
        "a",
        "A",
        "9",
        ".",
        "_",
        "__",
        "-",
        ":",
        "/",
        "@",
        "5000",
        "0",
        "latest",
        "sha256:",
        "sha512:",
        "%",
        " ",
        "é",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Whatever parses is displayed in a form that parses to the same value, and displays the same again.
fn check_round_trip(text: &str) -> Result<(), TestCaseError> {
    if let Ok(reference) = ImageReference::parse(text) {
        let shown = reference.to_string();
        prop_assert_eq!(ImageReference::parse(&shown), Ok(reference.clone()));
        prop_assert_eq!(RegistryHost::parse(reference.registry().as_str()), Ok(reference.registry().clone()));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_but_never_panics(text in any::<String>()) {
        check_round_trip(&text)?;
        let _ = RegistryHost::parse(&text);
    }

    #[test]
    fn displayed_references_parse_to_the_same(text in reference_like()) {
        check_round_trip(&text)?;
        let _ = RegistryHost::parse(&text);
    }

    #[test]
    fn valid_parts_make_a_valid_reference(
        host in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?\\.[a-z]{2,5}(:[1-9][0-9]{0,3})?",
        repository in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}(/[a-z0-9]{1,8}){0,3}",
        tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"),
        digest in prop::option::of("sha256:[0-9a-f]{64}"),
    ) {
        let mut text = format!("{host}/{repository}");
        if let Some(tag) = &tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &digest {
            text = format!("{text}@{digest}");
        }
        let reference = ImageReference::parse(&text).unwrap();
        prop_assert_eq!(reference.registry().as_str(), host);
        prop_assert_eq!(reference.repository(), repository);
        prop_assert_eq!(reference.tag(), tag.as_deref());
        prop_assert_eq!(reference.digest(), digest.as_deref());
    }
}
