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

# what rests on the server's own rules, on the oldest nats-server that is supported
[no-exit-message]
oldest:
    @infra/run-tests --test suite -- permissions attacks identities faults::row03 faults::row04 log::

# the unmodified programs of others against a running Waybill, one line each; arguments name some of them
[no-exit-message]
peers *arguments: build
    @python3 tests/peers/run.py {{ arguments }}

# the binaries, as the demo and the tests start them
build:
    cargo build --workspace --bins --locked

# every figure of speed and size beside its own limit, in one run: `short` (under five minutes), or `long` and how many events; then, perhaps, names of some parts
[no-exit-message]
bench *arguments:
    cargo build --release --quiet --locked -p waybill -p waybill-tests --bin waybill --bin bench
    @target/release/bench {{ arguments }}

# faults against a fleet of three servers for some seconds, and what they came to; a seed repeats their order
[no-exit-message]
chaos seconds="120" seed="": build
    @cargo run --quiet --locked -p waybill-tests --bin chaos -- {{ seconds }} {{ seed }}

# formatting, clippy and the links of the documentation, warnings denied
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

# licences, duplicates, bans, sources and (where the database is at hand) advisories
[no-exit-message]
deps:
    @infra/check-deps

# regenerate the checked-in JSON Schemas from the Rust types
schemas:
    cargo run --quiet --locked -p waybill-schemas --example generate

# every parser that reads text from strangers, on made-up inputs, for so many seconds each (default 20); targets may be named
[no-exit-message]
fuzz *arguments:
    @infra/fuzz {{ arguments }}

# the container image, built by buildah with the compiler of this machine, and what is in it
[no-exit-message]
image profile="dev":
    @infra/check-image {{ profile }}

# the Helm chart against the schemas of three Kubernetes versions
[no-exit-message]
chart:
    @infra/check-chart
