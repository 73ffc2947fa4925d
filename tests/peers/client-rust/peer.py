"""Rust types from schemas/asyncapi.yaml read and write every golden file."""

from kit.bring import TOOLS, run
from kit.contract import generate, round_trip, schemas

MANIFEST = """[package]
name = "contract"
version = "0.0.0"
edition = "2021"

[workspace]

[dependencies]
serde = { version = "=1.0.228", features = ["derive"] }
serde_json = "=1.0.145"
"""
HEAD = "#![allow(unused)]\nuse serde::{Deserialize, Serialize};\n"
PROGRAM = """
fn write_again<T: serde::de::DeserializeOwned + Serialize>(body: serde_json::Value) -> String {
    serde_json::to_string(&serde_json::from_value::<T>(body).expect("read")).expect("written")
}

fn main() {
    for line in std::io::stdin().lines() {
        let mut asked: serde_json::Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let body = asked["body"].take();
        let written = match asked["type"].as_str().expect("a type") {
%s            other => panic!("no type {other}"),
        };
        println!("{written}");
    }
}
"""


def check(world):
    folder = world.scratch("rust")
    types = generate("rust")
    structs = [name for name, text in types.items() if f"pub struct {name}" in text and name in schemas()]
    rows = "".join(f'            "{name}" => write_again::<{name}>(body),\n' for name in structs)
    (folder / "src").mkdir()
    (folder / "src" / "main.rs").write_text(HEAD + "\n".join(types.values()) + PROGRAM % rows, "utf-8")
    (folder / "Cargo.toml").write_text(MANIFEST, "utf-8")
    # What it depends on stays compiled from one run to the next.
    run(["cargo", "build", "--quiet", "--target-dir", TOOLS / "cargo"], cwd=folder, timeout=900)
    round_trip([TOOLS / "cargo" / "debug" / "contract"])
