"""Checks what is in this folder without a container engine: it parses, and everything it names exists.

    python infra/check.py [--home DIR]      DIR: a folder that `waybill init` made; its files are then looked for too

Prints one line per problem; exits 1 if there is any. Needs PyYAML, which the test requirements bring.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

import yaml

INFRA = Path(__file__).resolve().parent
ROOT = INFRA.parent
HOME = "${WAYBILL_HOME:-../.waybill}"
# Variables of the compose file itself, of the OpenTelemetry SDK, and where the settings of ours are defined.
COMPOSE_VARIABLES = {"WAYBILL_HOME", "WAYBILL_UID", "WAYBILL_GID", "WAYBILL_WORKER"}
WORKER = "${WAYBILL_WORKER:-node-1}"
SIGNALS = {"traces", "metrics"}
FOREIGN_VARIABLES = {"OTEL_EXPORTER_OTLP_ENDPOINT"}
SOURCES = ("services/*/src/**/*.rs",)


class Problems(list):
    def need(self, condition, text):
        if not condition:
            self.append(text)


def known_settings():
    """Every WAYBILL_ name that the Rust sources mention."""
    names = set()
    for pattern in SOURCES:
        for path in ROOT.glob(pattern):
            names.update(re.findall(r"WAYBILL_[A-Z0-9_]+", path.read_text("utf-8")))
    return names


def pinned(image):
    """An image with a registry and an exact version."""
    return re.fullmatch(r"[a-z0-9.-]+\.[a-z]+/[a-z0-9/._-]+:v?\d+\.\d+(\.\d+)?[a-z0-9.-]*(@sha256:[0-9a-f]{64})?", image)


def check_compose(home, problems):
    text = (INFRA / "compose.yaml").read_text("utf-8")
    services = yaml.safe_load(text.replace(WORKER, "node-1"))["services"]
    settings = known_settings() | FOREIGN_VARIABLES
    for name in sorted(set(re.findall(r"\$\{([A-Z_]+)", text)) - COMPOSE_VARIABLES):
        problems.append(f"compose.yaml: ${{{name}}} is not a variable of this file")
    for name, service in services.items():
        at = f"compose.yaml: {name}"
        if "build" in service:
            context = INFRA / service["build"]["context"]
            problems.need((context / service["build"]["dockerfile"]).is_file(), f"{at}: no such Containerfile")
        else:
            problems.need(pinned(service["image"]), f"{at}: {service['image']} is not pinned to a version")
        for variable in service.get("environment", {}):
            problems.need(variable in settings, f"{at}: no source reads {variable}")
        for other in service.get("depends_on", {}):
            problems.need(other in services, f"{at}: depends on {other}, which is not there")
            condition = service["depends_on"][other]["condition"] if isinstance(service["depends_on"], dict) else ""
            if condition == "service_healthy":
                problems.need("healthcheck" in services.get(other, {}), f"{at}: waits for {other}, which has no health check")
        for port in service.get("ports", []):
            problems.need(str(port).startswith("127.0.0.1:"), f"{at}: port {port} is open to the network")
        mounts = [volume.split(":/")[0] for volume in service.get("volumes", [])]
        for path in mounts + service.get("env_file", []):
            if path.startswith(HOME):
                problems.need(home is None or (home / path[len(HOME) + 1 :]).exists(), f"{at}: `waybill init` makes no {path[len(HOME) + 1:]}")
            else:
                problems.need((INFRA / path).exists(), f"{at}: there is no {path}")
    return services


def check_keys(services, problems):
    """A service has its own role's keys only."""
    roles = {
        "gateway": ["gateway"],
        "issuer": ["issuer", "claims", "signing"],
        "scheduler": ["scheduler"],
        "worker": ["worker-node-1"],
    }
    for name, service in services.items():
        for volume in service.get("volumes", []):
            found = re.search(r"/(?:keys|tokens)/([^:.]+)", volume.split(":/")[0])
            if found:
                problems.need(found[1] in roles.get(name, []), f"compose.yaml: {name} is given the key of {found[1]}")
            whole = any(volume.startswith(f"{HOME}{folder}:") for folder in ("", "/data", "/keys", "/tokens"))
            problems.need(not whole, f"compose.yaml: {name} is given more than its own files: {volume}")


def check_settings_of(home, problems):
    """What the settings files say, the sources read."""
    settings = known_settings() | FOREIGN_VARIABLES
    for path in sorted(home.glob("*.env")):
        for line in path.read_text("utf-8").splitlines():
            key = line.split("=")[0].strip()
            if key and not key.startswith("#"):
                problems.need(key in settings, f"{path.name}: no source reads {key}")


def check_collector(services, problems):
    config = yaml.safe_load((INFRA / "otel-collector.yaml").read_text("utf-8"))
    for name, pipeline in config["service"]["pipelines"].items():
        for kind in ("receivers", "processors", "exporters"):
            for component in pipeline[kind]:
                problems.need(component in config[kind], f"otel-collector.yaml: {name} uses {component}, which is not defined")
    for signal in sorted(SIGNALS - {name.split("/")[0] for name in config["service"]["pipelines"]}):
        problems.append(f"otel-collector.yaml: no pipeline takes {signal}")
    for name, exporter in config["exporters"].items():
        if name.split("/")[0] == "prometheus":
            continue
        host = re.search(r"//([^:/]+)", exporter["endpoint"])[1]
        problems.need(host in services, f"otel-collector.yaml: exports to {host}, which compose.yaml does not start")


def copied(words):
    """What the Containerfile copies from the repository."""
    lines = [line for line in words if line[0] == "COPY" and not line[1].startswith("--from")]
    return [source for line in lines for source in line[1:-1]]


def check_containerfile(problems):
    lines = (INFRA / "Containerfile").read_text("utf-8").splitlines()
    words = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    for line in words:
        if line[0] == "ARG" and "_IMAGE=" in line[1]:
            image = line[1].split("=")[1]
            # Distroless has no versions but the distribution's, which stands in its name.
            problems.need(pinned(image) or "debian" in image, f"Containerfile: {image} is not pinned to a version")
    for source in copied(words):
        problems.need((ROOT / source).exists(), f"Containerfile: there is no {source}")
    users = [line[1] for line in words if line[0] == "USER"]
    ignored = (INFRA / "Containerfile.dockerignore").read_text("utf-8").split()
    problems.need(ignored[:1] == ["*"], "Containerfile.dockerignore: it does not begin with *, so that too much is sent")
    for source in copied(words):
        problems.need(f"!{source}" in ignored, f"Containerfile.dockerignore: {source} is not sent")
    problems.need(users and users[-1].split(":")[0] not in ("0", "root"), "Containerfile: it would run as root")


# What every unit is held to, whoever it runs as (systemd.exec(5)).
HARDENING = {
    "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes", "RestrictSUIDSGID": "yes", "RestrictNamespaces": "yes", "UMask": "0077", "LimitCORE": "0",
}


def check_units(problems):
    """The services' systemd units."""
    for service in ("gateway", "issuer", "scheduler", "worker"):
        path = INFRA / "systemd" / f"waybill-{service}.service"
        lines = [line.partition("=") for line in path.read_text("utf-8").splitlines() if "=" in line and line[0] != "#"]
        settings = {key: value for key, _, value in lines}
        at = f"systemd/{path.name}"
        problems.need(settings["ExecStart"].split()[-1] == service, f"{at}: it starts another command than {service}")
        problems.need(service == "worker" or settings.get("User") == "waybill", f"{at}: it would run as root")
        for key, value in HARDENING.items():
            problems.need(settings.get(key) == value, f"{at}: {key} is {settings.get(key)}, not {value}")
        problems.need(int(settings["LimitNOFILE"]) >= 65536, f"{at}: too few file descriptors for a fleet's connections")


def check_observability(problems):
    """Dashboard, links and alerts can be loaded, and each alert says what to do."""
    for name, member in (("grafana-dashboard.json", "panels"), ("jaeger-ui.json", "linkPatterns")):
        problems.need(json.loads((INFRA / name).read_text("utf-8")).get(member), f"{name}: it has no {member}")
    groups = yaml.safe_load((INFRA / "prometheus-rules.yaml").read_text("utf-8"))["groups"]
    tested = (INFRA / "prometheus-rules-test.yaml").read_text("utf-8")
    for rule in (rule for group in groups for rule in group["rules"]):
        at = f"prometheus-rules.yaml: {rule['alert']}"
        problems.need({"summary", "description"} <= set(rule["annotations"]), f"{at} does not say what to do")
        problems.need(f"alertname: {rule['alert']}" in tested, f"{at} has no test")


def check_scripts(problems):
    for name in ("justw", "run-tests", "check-deps", "check-chart", "fuzz"):
        problems.need(os.access(INFRA / name, os.X_OK), f"{name} is not executable")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    home = parser.parse_args().home
    problems = Problems()
    services = check_compose(home, problems)
    check_keys(services, problems)
    check_collector(services, problems)
    check_containerfile(problems)
    check_units(problems)
    check_observability(problems)
    check_scripts(problems)
    if home:
        check_settings_of(home, problems)
    print("\n".join(problems) or "infra: nothing to complain about")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
