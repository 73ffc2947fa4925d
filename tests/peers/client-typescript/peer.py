"""TypeScript types from schemas/asyncapi.yaml compile, and the golden files are values of them."""

import json

from kit.bring import node, npm_packages, run
from kit.contract import generate, golden_files

VERSION = "typescript@5.9.3"


def check(world):
    compiler = npm_packages("typescript", VERSION) / "node_modules" / "typescript" / "lib" / "tsc.js"
    folder = world.scratch("typescript")
    types = generate("typescript")
    # Types are gone at run time, so that the compiler itself is the one who reads each body. One module in place of many
    # that import each other: their imports go, and each type is exported where it stands.
    lines = [line for text in types.values() for line in text.splitlines()]
    kept = [line for line in lines if not line.startswith(("import ", "export default", "export type {", "export {"))]
    text = "\n".join(f"export {line}" if line.startswith(("interface ", "type ")) else line for line in kept)
    bodies = (f"export const body{place}: {name} = {json.dumps(body)};" for place, (name, body) in enumerate(golden_files()))
    (folder / "contract.ts").write_text("\n".join([text, *bodies]), "utf-8")
    options = ["--strict", "--noEmit", "--lib", "es2022", "--exactOptionalPropertyTypes"]
    run([node(), compiler, *options, "contract.ts"], cwd=folder)
