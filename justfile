# `infra/justw RECIPE` brings what a recipe needs and then runs it; with everything at hand, `just RECIPE` does.

# list the recipes
default:
    @just --justfile "{{ justfile() }}" --list --unsorted

# watch a private image being pulled with credentials that travelled over the log, then a pull that fails and why
[no-exit-message]
demo: build
    @cargo run --quiet --locked -p waybill-tests --bin demo

# every test, against real servers; arguments go to `cargo test`
[no-exit-message]
test *arguments:
    @infra/run-tests {{ arguments }}

# the binaries, as the demo and the tests start them
build:
    cargo build --workspace --bins --locked

# how fast the log is read and replayed, in one run: build for release, fill a log, measure three times in turn
[no-exit-message]
bench-replay events="1000000":
    cargo build --release --quiet --locked -p waybill -p waybill-tests --bin waybill --bin replay_bench
    @target/release/replay_bench {{ events }}

# the time to explain one id in logs of 10,000 and 100,000 events and in a large one
[no-exit-message]
bench-explain events="1000000":
    cargo build --release --quiet --locked -p waybill -p waybill-tests --bin waybill --bin explain_bench
    @target/release/explain_bench {{ events }}

# formatting, clippy and the links of the documentation, warnings denied
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

# licences, duplicates, bans, sources and (where the database is at hand) advisories
[no-exit-message]
deps:
    @infra/check-deps

# every parser of hostile text against random inputs, some seconds each
[no-exit-message]
fuzz seconds="20" *targets:
    @infra/fuzz {{ seconds }} {{ targets }}

# the container image, with buildah and the compiler of this machine, and a run of it
[no-exit-message]
check-image profile="dev":
    @infra/check-image {{ profile }}

# static binaries, completions, manual pages, list of parts and checksums, in dist/
[no-exit-message]
release:
    @infra/release

# regenerate the checked-in JSON Schemas from the Rust types
schemas:
    cargo run --quiet --locked -p waybill-schemas --example generate
