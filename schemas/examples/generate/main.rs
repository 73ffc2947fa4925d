//! Writes the generated files of the contract into `schemas/`.

mod contract;

use std::{fs, path::Path};

fn main() -> std::io::Result<()> {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(schemas.join("json"))?;
    for (name, text) in contract::files() {
        fs::write(schemas.join(name), text)?;
    }
    Ok(())
}
