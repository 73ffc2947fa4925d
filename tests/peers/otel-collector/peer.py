"""A collector built for infra/otel-collector.yaml takes spans and metrics, and tells two workers apart."""

import json
import re

from kit.bring import BIN, ROOT, TOOLS, bring, go, go_environment, go_tool, say
from kit.jaeger import Jaeger
from kit.processes import free_ports, until
from kit.world import fetch

CONFIG = ROOT / "infra" / "otel-collector.yaml"
VERSION, STABLE, CONTRIB = "v0.165.0", "v1.71.0", "v0.165.1"
CORE, MORE = "go.opentelemetry.io/collector", "github.com/open-telemetry/opentelemetry-collector-contrib"
# Each component that the file names, by the module that has it.
COMPONENTS = {
    "receivers": {"otlp": f"{CORE}/receiver/otlpreceiver {VERSION}"},
    "processors": {
        "batch": f"{CORE}/processor/batchprocessor {VERSION}",
        "memory_limiter": f"{CORE}/processor/memorylimiterprocessor {VERSION}",
    },
    "exporters": {
        "otlphttp": f"{CORE}/exporter/otlphttpexporter {VERSION}",
        "prometheus": f"{MORE}/exporter/prometheusexporter {CONTRIB}",
    },
}
WORKERS = ("node-1", "node-2")


def check(world):
    collector = build()
    jaeger, port = Jaeger(world), free_ports(3)
    grpc, http, metrics = (f"127.0.0.1:{port + place}" for place in range(3))
    # Ports of this run in place of those in the file; the rest is as it is shipped.
    changed = {
        "receivers::otlp::protocols::grpc::endpoint": grpc,
        "receivers::otlp::protocols::http::endpoint": http,
        "exporters::otlphttp/jaeger::endpoint": jaeger.http,
        "exporters::prometheus::endpoint": metrics,
    }
    overrides = [f"--config=yaml:{key}: {value}" for key, value in changed.items()]
    service = world.serve("otel-collector", [collector, f"--config={CONFIG}", *overrides])
    until(lambda: fetch(f"http://{metrics}/metrics")[0] == 200, "the collector", service)
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{http}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }
    waybill = world.own_waybill("collector", settings, workers=WORKERS)
    waybill.build("img-o")
    for container, worker in zip(("o-1", "o-2"), WORKERS):
        waybill.place(container, "img-o", worker)
        waybill.until_pulled(container)
    until(lambda: jaeger.find("waybill-worker", container__id="o-2"), "the spans behind the collector", service)

    def pulled_by():
        text = fetch(f"http://{metrics}/metrics")[2].decode()
        lines = [line for line in text.splitlines() if line.startswith("waybill_pulls_total{")]
        found = {re.search(r'instance="([^"]*)"', line)[1] for line in lines}
        return found if len(found) >= len(WORKERS) else None

    found = until(pulled_by, "the pulls of two workers", service)
    assert found == set(WORKERS), f"the series are those of {found}"
    waybill.stop()
    service.stop()


def build():
    """The collector, compiled by its own builder with the components that the file names."""
    program = BIN / f"otelcol-{VERSION}"
    if program.is_file():
        return program
    builder = go_tool("ocb", f"{CORE}/cmd/builder", VERSION)
    folder = TOOLS / "go" / "otelcol"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "dist": {"name": "otelcol", "output_path": str(folder), "go": str(go()), "version": VERSION.removeprefix("v")},
        "providers": [{"gomod": f"{CORE}/confmap/provider/{name}provider {STABLE}"} for name in ("env", "file", "yaml")],
        **{kind: [{"gomod": module} for module in modules.values()] for kind, modules in COMPONENTS.items()},
    }
    text = CONFIG.read_text("utf-8")
    for kind, modules in COMPONENTS.items():
        section = re.search(rf"^{kind}:\n((?:  .*\n|\n)+)", text, re.M)[1]
        named = {name.split("/")[0] for name in re.findall(r"^  ([a-z_/]+):$", section, re.M)}
        assert named == set(modules), f"{kind} of {CONFIG.name} are {named}, the collector has {set(modules)}"
    file = folder / "manifest.yaml"
    file.write_text(json.dumps(manifest), "utf-8")  # JSON is YAML too
    say("compiling the collector")
    bring("otelcol", ["nice", builder, f"--config={file}"], cwd=folder, env=go_environment())
    (folder / "otelcol").rename(program)
    return program
