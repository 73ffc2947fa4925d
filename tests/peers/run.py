"""Runs the unmodified programs of others against a running Waybill; one line a program: PASS, FAIL or SKIPPED, and why.

    infra/justw peers [NAME...]

A peer is a folder here with a `peer.py`: the first line of its documentation says what is proven, and `check(world)`
proves it. What cannot be brought raises `Skipped`; anything else that is raised is a failure, whose story is in the log
that is named.
"""

import importlib.util
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True  # nothing but sources stands here

from kit.bring import LOGS, Skipped  # noqa: E402
from kit.world import World  # noqa: E402


def load(name):
    """The module of a peer, with its own folder importable."""
    spec = importlib.util.spec_from_file_location(f"peer_{name}", HERE / name / "peer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_line(error):
    """What went wrong in one line: an assertion's words, or the type where an error has none."""
    words = str(error).strip().splitlines()
    return words[0] if words else type(error).__name__


def run(name, world):
    """Runs one peer and returns `PASS`, `FAIL` or `SKIPPED`."""
    began = time.monotonic()
    try:
        peer = load(name)
        proven = peer.__doc__.strip().splitlines()[0]
        peer.check(world)
        outcome, words = "PASS", proven
    except Skipped as reason:
        outcome, words = "SKIPPED", first_line(reason)
    except Exception as error:  # whatever a peer raises is its failure, and the others still run
        log = LOGS / f"{name}.log"
        log.write_text(traceback.format_exc(), "utf-8")
        outcome, words = "FAIL", f"{first_line(error)} ({log})"
    print(f"{outcome:<8} {name:<20} {words} ({time.monotonic() - began:.0f} s)", flush=True)
    return outcome


def main(wanted):
    names = sorted(path.parent.name for path in HERE.glob("*/peer.py"))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        sys.exit(f"there is no peer {', '.join(unknown)}; there are {', '.join(names)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    with World() as world:
        outcomes = [run(name, world) for name in wanted or names]
    passed, failed, skipped = (outcomes.count(outcome) for outcome in ("PASS", "FAIL", "SKIPPED"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
