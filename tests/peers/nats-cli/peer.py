"""The nats CLI works with the contexts of `waybill init`: streams, consumers, servers, and the gateway as a NATS service."""

import json

from kit.bring import go_tool, run
from kit.world import WORKER, WORKSPACE

PACKAGE, VERSION = "github.com/nats-io/natscli/nats", "v0.5.0"


def check(world):
    nats, waybill = go_tool("nats", PACKAGE, VERSION), world.waybill()
    # Nothing but the folder that `waybill init` wrote.
    env = {"PATH": "/usr/bin:/bin", "HOME": str(world.scratch("nats")), "XDG_CONFIG_HOME": str(waybill.home)}

    def ask(context, *words, check=True):
        return run([nats, "--context", context, *words], env=env, check=check).stdout

    assert "WAYBILL" in json.loads(ask("operator", "stream", "ls", "--names", "--json")), "the stream is not listed"
    stream = json.loads(ask("operator", "stream", "info", "WAYBILL", "--json"))
    assert stream["state"]["messages"] > 0, f"the stream is told empty: {stream['state']}"
    first = json.loads(ask("operator", "stream", "get", "WAYBILL", "1", "--json"))
    assert first["subject"].startswith("waybill.events."), f"the first event is {first['subject']}"
    assert f"worker-{WORKER}" in ask("operator", "consumer", "report", "WAYBILL"), "the worker's queue is not reported"
    assert "waybill" in ask("system", "server", "list"), "the system user sees no server"
    ask_service(ask)


def ask_service(ask):
    """The gateway as a NATS service: discovery, and an explanation."""
    found = json.loads(ask("operator", "micro", "ls", "--json"))
    assert [one["name"] for one in found] == ["waybill-gateway"], f"the services are {found}"
    told = ask("operator", "micro", "info", "waybill-gateway")
    assert "explain" in told and "ready" in told, f"its endpoints are not told: {told}"
    subject = f"waybill.gateway.explain.container.{WORKSPACE}.c-1"
    explained = json.loads(ask("operator", "request", subject, "", "--raw"))
    assert explained["verdict"]["state"] == "healthy", f"it explains {explained['verdict']}"
    counted = ask("operator", "micro", "stats", "waybill-gateway")
    assert "explain" in counted, f"it counts {counted}"
