"""The nats CLI reads the stream, its events and its consumers as the operator."""

import json

from kit.bring import go_tool, run

PACKAGE, VERSION = "github.com/nats-io/natscli/nats", "v0.5.0"


def check(world):
    nats, waybill = go_tool("nats", PACKAGE, VERSION), world.waybill()
    home = world.scratch("nats")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_CONFIG_HOME": str(home)}

    def ask(*words):
        return run([nats, *waybill.nats_arguments("operator"), *words], env=env).stdout

    stream = json.loads(ask("stream", "info", "WAYBILL", "--json"))
    assert stream["state"]["messages"] > 0, f"the stream is told empty: {stream['state']}"
    first = json.loads(ask("stream", "get", "WAYBILL", "1", "--json"))
    assert first["subject"].startswith("waybill.events."), f"the first event is {first['subject']}"
    consumers = json.loads(ask("consumer", "info", "WAYBILL", "worker-node-1", "--json"))
    assert consumers["name"] == "worker-node-1", f"the consumer is told as {consumers}"
