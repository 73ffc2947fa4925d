"""A Jaeger v2 with its store in memory and the links that infra/ ships."""

import json
import time
from urllib.parse import urlencode

from .bring import ROOT, go_tool
from .processes import free_ports, until
from .world import fetch, fetch_json

PACKAGE, VERSION = "github.com/jaegertracing/jaeger/cmd/jaeger", "v1.76.0"  # the module's number; the program calls itself v2.13.0
UI = ROOT / "infra" / "jaeger-ui.json"


class Jaeger:
    """Takes OTLP at `grpc` and `http`, answers at `url`."""

    def __init__(self, world):
        program = go_tool("jaeger", PACKAGE, VERSION)
        port = free_ports(4)
        self.grpc, self.http, self.url = (f"http://127.0.0.1:{port + place}" for place in range(3))
        endpoint = {name: {"endpoint": f"127.0.0.1:{port + place}"} for place, name in enumerate(("grpc", "http"))}
        query = {"storage": {"traces": "memory"}, "http": {"endpoint": f"127.0.0.1:{port + 2}"}}
        query |= {"grpc": {"endpoint": f"127.0.0.1:{port + 3}"}, "ui": {"config_file": str(UI)}}
        config = {
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
                "telemetry": {"metrics": {"level": "none"}},
            },
            "extensions": {
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 10000}}}},
                "jaeger_query": query,
            },
            "receivers": {"otlp": {"protocols": endpoint}},
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
        }
        file = world.scratch("jaeger") / "jaeger.yaml"
        file.write_text(json.dumps(config), "utf-8")  # JSON is YAML too
        self.service = world.serve("jaeger", [program, "--config", file])
        until(lambda: fetch(f"{self.url}/api/services")[0] == 200, "Jaeger", self.service)

    def find(self, service, **tags):
        """Traces of a service in which one span has these attributes, as Jaeger's own page searches them."""
        now = int(time.time() * 1e6)
        tags = json.dumps({name.replace("__", "."): str(value) for name, value in tags.items()})
        query = {"service": service, "tags": tags, "start": now - 3_600_000_000, "end": now, "limit": 100}
        return fetch_json(f"{self.url}/api/traces?{urlencode(query)}")["data"]


def attributes(span):
    return {tag["key"]: tag["value"] for tag in span["tags"]}
