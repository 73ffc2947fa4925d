"""In Jaeger a build leads to the containers that use it and back, over gRPC and by the links that infra/ ships."""

import json
import re
from urllib.parse import parse_qs, urlsplit

from kit.jaeger import UI, Jaeger, attributes
from kit.processes import until
from kit.world import WORKSPACE, fetch

WORKERS = ("node-1", "node-2")


def check(world):
    jaeger = Jaeger(world)
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.grpc,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    waybill = world.own_waybill("jaeger", settings, workers=WORKERS)
    built = waybill.build("img-j")
    for container, worker in zip(("j-1", "j-2"), WORKERS):
        waybill.place(container, "img-j", worker)
        waybill.until_pulled(container)

    # From the build to the containers: by its place in the log, and by its trace.
    build = built["trace_id"]
    naming = until(lambda: named_span(jaeger, build), "the build's span", seconds=30)
    sequence = attributes(naming)["waybill.build_sequence"]
    found = until(lambda: containers(jaeger, waybill__build_sequence=sequence), "the containers by sequence", seconds=30)
    assert found == {"j-1", "j-2"}, f"the build leads to {found}"
    assert containers(jaeger, linked__trace_id=build) == {"j-1", "j-2"}, "the build's trace leads to others"

    # And back: the span that attached links to the one that saved.
    trace = jaeger.find("waybill-scheduler", container__id="j-1", linked__trace_id=build)[0]
    links = [ref for span in trace["spans"] for ref in span["references"] if ref["traceID"] == build]
    assert links, "no span of the container refers to the build"

    # Every span of the worker's is found by the container, and the two workers are two instances.
    worker = jaeger.find("waybill-worker", container__id="j-1")[0]
    names = {key: process["serviceName"] for key, process in worker["processes"].items()}
    own = [span for span in worker["spans"] if names[span["processID"]] == "waybill-worker"]
    assert all("container.id" in attributes(span) for span in own), [span["operationName"] for span in own]
    instances = {instance(jaeger, container) for container in ("j-1", "j-2")}
    assert instances == set(WORKERS), f"the workers are told apart as {instances}"
    follow_links(jaeger, waybill, trace, {"trace": build, "sequence": sequence})
    waybill.stop()


def named_span(jaeger, trace):
    spans = [span for found in jaeger.find("waybill-gateway", waybill__image__id="img-j") for span in found["spans"]]
    named = (span for span in spans if span["traceID"] == trace and "waybill.build_sequence" in attributes(span))
    return next(named, None)


def containers(jaeger, **tags):
    """The containers of the traces that a search finds; none until both are there."""
    spans = [span for trace in jaeger.find("waybill-scheduler", **tags) for span in trace["spans"]]
    found = {attributes(span).get("container.id") for span in spans} - {None}
    return found if len(found) == len(WORKERS) else None


def instance(jaeger, container):
    processes = jaeger.find("waybill-worker", container__id=container)[0]["processes"].values()
    tags = [tag for process in processes if process["serviceName"] == "waybill-worker" for tag in process["tags"]]
    return next(tag["value"] for tag in tags if tag["key"] == "service.instance.id")


def follow_links(jaeger, waybill, trace, build):
    """Fills every shipped link in as Jaeger's page does, and asks where it leads."""
    values = {"traceID": build["trace"]}
    for span in trace["spans"]:
        values |= attributes(span)
    for pattern in json.loads(UI.read_text("utf-8"))["linkPatterns"]:
        missing = [name for name in re.findall(r"#\{([^}]+)\}", pattern["url"]) if name not in values]
        assert not missing, f"no span has {missing}, which the link \"{pattern['text']}\" needs"
        url = re.sub(r"#\{([^}]+)\}", lambda name: str(values[name[1]]), pattern["url"])
        parts = urlsplit(url)
        if parts.path == "/search":
            tags = json.loads(parse_qs(parts.query)["tags"][0])
            assert jaeger.find("waybill-scheduler", **{key.replace(".", "__"): value for key, value in tags.items()}), url
        elif parts.path.startswith("/trace/"):
            assert fetch(f"{jaeger.url}/api/traces/{parts.path.removeprefix('/trace/')}")[0] == 200, url
        else:
            # The address of the gateway in the file is the one that `waybill init` writes.
            assert parts.netloc == "127.0.0.1:8484" and WORKSPACE in parts.path, url
            status = fetch(waybill.gateway_url + parts.path)[0]
            assert status != 404, f"the gateway has no page {parts.path}"
