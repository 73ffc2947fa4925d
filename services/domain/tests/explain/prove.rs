//! Each remedy in the table of situations is proven by folding it, or said to be outside the log.

use std::collections::BTreeSet;

use waybill_domain::explain::{Asked, Case, Code, Hop, Proof, Readers, State, prove_remedy};

use crate::{
    support::rows,
    world::{World, container, workspace},
};

/// Codes whose remedies do something that leaves no event.
const OUTSIDE: &[Code] = &[
    Code::NotRequested,
    Code::NoImageId,
    Code::Quarantined,
    Code::DecisionDiffers,
    Code::Unsupported,
    Code::CredentialsWithheld,
    Code::Storage,
    Code::NoLogin,
    Code::Denied,
    Code::Unreachable,
    Code::Tls,
    Code::TlsUnknownAuthority,
    Code::TlsWrongHost,
    Code::TlsExpired,
    Code::PlainHttp,
    Code::Proxy,
    Code::UnsupportedChallenge,
    Code::RateLimited,
    Code::RegistryError,
    Code::DigestMismatch,
    Code::TokenExchangeUnreachable,
];

#[test]
fn each_remedy_is_proven_or_outside_the_log() {
    let (mut proven, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in rows(include_str!("../testdata/explain.txt")) {
        let world = World::of(row.raw(1));
        let (workspace, asked) = (workspace(), Asked::Container(container()));
        let case = Case { workspace, asked, history: world.history(), readers: Readers::unknown(), now: world.now() };
        let verdict = case.explain().verdict;
        let proof = prove_remedy(&case);
        let fits = match (&proof, verdict.state) {
            (Proof::NothingToDo, state) => state == State::Healthy,
            (Proof::OutsideTheLog { .. }, State::InFlight) => true,
            // Of a request that was refused, the log does not have what it asked for.
            (Proof::OutsideTheLog { .. }, state) => {
                let is_unknown = verdict.code == Code::RequestRefused && verdict.hop == Hop::Requested;
                state == State::Broken && (is_unknown || OUTSIDE.contains(&verdict.code))
            }
            (Proof::Proven { events, verdict: then }, state) => {
                proven.insert(verdict.code);
                // The credentials are on their way; what the worker makes of them is for the worker to say.
                let attached = (then.state, then.code) == (State::InFlight, Code::AwaitingProvider);
                state == State::Broken && attached && events.last() == Some(&"ContainerRequested")
            }
        };
        if !fits {
            wrong.push(format!("{row}\n  {:?}: {proof:?}", verdict.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(proven.len() >= 20, "{proven:?}");
    assert!(OUTSIDE.iter().all(|code| !proven.contains(code)), "{proven:?}");
}

#[test]
fn a_proof_names_what_has_to_happen() {
    let cases: [(&str, &[&str]); 5] = [
        ("registered built revoked requested decided", &["CredentialSecretRotated", "ContainerRequested"]),
        ("built requested decided", &["WorkerRegistered", "ContainerRequested"]),
        (
            "registered requested decided default pull:unauthorized",
            &["ImageSecretNamed", "CredentialSecretRotated", "ContainerRequested"],
        ),
        ("registered built revoked requested decided rotated", &["ContainerRequested"]),
        (
            "registered built requested decided provider pull:unauthorized",
            &["CredentialSecretRotated", "ContainerRequested"],
        ),
    ];
    for (words, expected) in cases {
        let world = World::of(words);
        let (workspace, asked) = (workspace(), Asked::Container(container()));
        let case = Case { workspace, asked, history: world.history(), readers: Readers::unknown(), now: world.now() };
        match prove_remedy(&case) {
            Proof::Proven { events, .. } => assert_eq!(events, expected, "{words}"),
            other => panic!("{words}: {other:?}"),
        }
    }
}
