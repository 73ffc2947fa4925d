"""The contract as a client in another language has it: types made by AsyncAPI's generator, and the golden files."""

import json
from shutil import copy

from .bring import ROOT, node, npm_packages, run

PACKAGES = ["@asyncapi/parser@3.6.3", "@asyncapi/modelina@5.10.1", "js-yaml@4.1.1"]
DOCUMENT = ROOT / "schemas" / "asyncapi.yaml"


def ask_generator(*language):
    """What the parser says of the document, and the types in a language."""
    folder = npm_packages("asyncapi", *PACKAGES)
    # Node looks for packages beside the file, whatever the working folder is.
    program = copy(ROOT / "tests" / "peers" / "kit" / "modelina.mjs", folder)
    return json.loads(run([node(), program, DOCUMENT, *language], cwd=folder).stdout)


def schemas():
    """Every JSON Schema of the contract by the name of its type: the bodies, and the types that they share."""
    found = {}
    for path in sorted((ROOT / "schemas" / "json").glob("v1.*.json")):
        schema = json.loads(path.read_text("utf-8"))
        found.update(schema.pop("$defs", {}))
        found[path.name.removeprefix("v1.").removesuffix(".json")] = schema
    return found


def golden_files():
    """Every golden file: the name of its event, and its body."""
    for path in sorted((ROOT / "schemas" / "golden" / "v1").glob("*.json")):
        yield path.name.split(".")[0], json.loads(path.read_text("utf-8"))["body"]


def generate(language):
    """The types in a language, which must be those of the contract with every word of each set."""
    models = ask_generator(language)["models"]
    for name, schema in schemas().items():
        assert name in models, f"{language} has no type {name}"
        missing = [word for word in schema.get("enum", []) if f'"{word}"' not in models[name].replace("'", '"')]
        assert not missing, f"{language}'s {name} lacks {', '.join(missing)}"
    return models


def round_trip(argv, **options):
    """Sends every golden body through a program: a line with its type and itself each, read and written again."""
    files = list(golden_files())
    lines = "".join(json.dumps({"type": name, "body": body}) + "\n" for name, body in files)
    said = [json.loads(line) for line in run(argv, stdin=lines, **options).stdout.splitlines()]
    assert len(said) == len(files), f"{len(files)} bodies went in, {len(said)} came back"
    for (name, body), back in zip(files, said):
        assert without_defaults(name, back) == without_defaults(name, body), f"{name} came back as {back}"


def without_defaults(name, body):
    """A member that has its schema's default says what a missing one says."""
    properties = schemas()[name].get("properties", {})
    return {key: value for key, value in body.items() if value != properties.get(key, {}).get("default", body)}
