"""Python types from schemas/asyncapi.yaml read and write every golden file."""

import os
import sys

from kit.bring import python_packages
from kit.contract import generate, round_trip

PROGRAM = """
import json, sys
import contract
for line in sys.stdin:
    asked = json.loads(line)
    body = getattr(contract, asked["type"]).model_validate(asked["body"])
    print(body.model_dump_json(exclude_none=True, by_alias=True))
"""


def check(world):
    packages = python_packages("pydantic", "pydantic==2.12.5")
    folder = world.scratch("python")
    types = generate("python")
    # One module in place of a package of modules that import each other; names are looked up once all are there.
    lines = [line for text in types.values() for line in text.splitlines() if not line.startswith("from ")]
    head = "from __future__ import annotations\nfrom typing import *\nfrom enum import Enum\nfrom pydantic import *\n"
    rebuild = "".join(f"{name}.model_rebuild()\n" for name, text in types.items() if "(BaseModel)" in text)
    (folder / "contract.py").write_text(head + "\n".join(lines) + "\n" + rebuild, "utf-8")
    env = {**os.environ, "PYTHONPATH": f"{packages}:{folder}"}
    round_trip([sys.executable, "-c", PROGRAM], env=env)
