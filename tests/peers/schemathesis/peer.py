"""schemathesis finds no answer of the gateway that /openapi.json does not describe."""

import os
import sys

from kit.bring import LOGS, python_packages, run

REQUIREMENT = "schemathesis==4.32.5"
# The same questions in each run; the token comes from the environment, since every process sees an argument.
CONFIG = """seed = 11
headers = { Authorization = "Bearer ${WAYBILL_TOKEN}" }

# What a field means is judged as well: a host that is none, a key that was used for something else.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

[generation]
max-examples = 30
database = "none"
"""


def check(world):
    packages = python_packages("schemathesis", REQUIREMENT)
    # Its own Waybill: what it sends is garbage that no other peer should find in the log.
    waybill = world.own_waybill("schemathesis", {"WAYBILL_GATEWAY_VERIFY": "on"})
    folder = world.scratch("schemathesis")
    (folder / "schemathesis.toml").write_text(CONFIG, "utf-8")
    env = {**os.environ, "PYTHONPATH": str(packages), "WAYBILL_TOKEN": waybill.token, "NO_COLOR": "1"}
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    argv = [sys.executable, "-c", program, "run", f"{waybill.gateway_url}/openapi.json", "--workers", "1"]
    told = run(argv, env=env, cwd=folder, timeout=900, check=False)
    waybill.stop()
    log = LOGS / "schemathesis-report.log"
    log.write_text(told.stdout + told.stderr, "utf-8")
    assert told.returncode == 0, f"schemathesis found something, see {log}\n{told.stdout[-3000:]}"
