"""promtool passes the alerts' tests, and Prometheus reads every service without a parse error and loads the alerts."""

import json
from urllib.parse import quote

from kit.bring import ROOT, go_tool, run
from kit.processes import free_port, until
from kit.world import fetch, fetch_json

MODULE, VERSION = "github.com/prometheus/prometheus/cmd", "v0.316.0"
# Without the clouds' service discovery, which is most of what there is to compile.
TAGS = "remove_all_sd"
RULES = ROOT / "infra" / "prometheus-rules.yaml"


def check(world):
    promtool = go_tool("promtool", f"{MODULE}/promtool", VERSION, TAGS)
    run([promtool, "check", "rules", RULES])
    run([promtool, "test", "rules", RULES.with_name("prometheus-rules-test.yaml")])
    waybill = world.waybill()
    for url in waybill.metrics_urls:
        text = fetch(url)[2].decode()
        told = run([promtool, "check", "metrics"], stdin=text, check=False)
        # It advises on names, which OpenTelemetry's conventions give; what cannot be parsed ends with 1.
        assert told.returncode in (0, 3) and "error" not in told.stderr.lower(), f"{url}: {told.stderr}"
    run_prometheus(world, waybill)


def run_prometheus(world, waybill):
    prometheus = go_tool("prometheus", f"{MODULE}/prometheus", VERSION, TAGS)
    folder, port = world.scratch("prometheus"), free_port()
    targets = [url.removeprefix("http://").removesuffix("/metrics") for url in waybill.metrics_urls]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "waybill", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), "utf-8")  # JSON is YAML too
    url = f"http://127.0.0.1:{port}"
    argv = [prometheus, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    service = world.serve("prometheus", [*argv, f"--web.listen-address=127.0.0.1:{port}"])
    until(lambda: fetch(f"{url}/-/ready")[0] == 200, "Prometheus", service)

    def ask(query):
        return fetch_json(f"{url}/api/v1/query?query={quote(query)}")["data"]["result"]

    until(lambda: len(ask("up == 1")) == len(targets), f"Prometheus, reading all of {targets}", service)
    until(lambda: ask('waybill_pulls_total{outcome="succeeded"} > 0'), "the pulls", service)
    groups = fetch_json(f"{url}/api/v1/rules")["data"]["groups"]
    broken = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
    assert groups and not broken, f"Prometheus cannot evaluate {broken}"
    service.stop()
