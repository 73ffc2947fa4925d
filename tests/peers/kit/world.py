"""A Waybill with a private registry, as the peers find it: `waybill init`, `waybill dev`, and a container with a login."""

import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from .bring import BIN, LOGS, ROOT, run
from .processes import Service, free_ports, until
from .registry import PASSWORD, USER, Registry

WORKSPACE, WORKER = "acme", "node-1"


def fetch(url, *, token=None, body=None, method=None, seconds=10):
    """Asks over HTTP and returns status, headers and body; an error status is an answer too."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, body and json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def fetch_json(url, **options):
    """The JSON of an answer that must be good."""
    status, _, body = fetch(url, **options)
    assert status < 300, f"{url} answered {status}: {body[:300]!r}"
    return json.loads(body)


class Waybill:
    """A Waybill of its own in `folder`: nats-server, gateway, scheduler and workers, with further `settings`."""

    def __init__(self, folder, registry, settings=None, workers=(WORKER,)):
        folder.mkdir(parents=True)
        self.folder, self.home, self.node = folder, folder / "home", folder / "node"
        # nats-server, the gateway, the scheduler's health checks, and those of the workers behind it.
        port = free_ports(3 + len(workers))
        self.nats_url, self.gateway_url = f"nats://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
        self.metrics_urls = [f"http://127.0.0.1:{port + place}/metrics" for place in range(1, 3 + len(workers))]
        self.program = ROOT / "target" / "debug" / "waybill"
        listen = ["--nats-listen", f"127.0.0.1:{port}", "--gateway-listen", f"127.0.0.1:{port + 1}"]
        names = ["--workspace", WORKSPACE, *(word for worker in workers for word in ("--worker", worker))]
        self.run("init", *names, *listen, "--health-port", port + 2)
        self.token = (self.home / "tokens" / f"{WORKSPACE}.token").read_text("utf-8").strip()
        self.environment = {
            **os.environ,
            "WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES": registry.host,
            "WAYBILL_LOG_FORMAT": "json",
            **(settings or {}),
        }
        for worker in workers:
            node = self.node / worker
            node.mkdir(parents=True)
            with open(self.home / f"worker-{worker}.env", "a", encoding="utf-8") as file:
                file.write(f"WAYBILL_WORKER_NODE_DIR={node}\n")
        self.service = Service([self.program, "--home", self.home, "dev"], folder / "waybill.log", self.environment)
        until(lambda: fetch(f"{self.gateway_url}/readyz")[0] == 200, "waybill dev", self.service)
        self.registry = registry

    def stop(self):
        self.service.stop()
        shutil.copy(self.service.log, LOGS / f"waybill-{self.folder.name}.log")

    def run(self, *words, check=True):
        """A subcommand of `waybill` on this home folder."""
        return run([self.program, "--home", self.home, *words], check=check)

    def connection(self, role):
        """How a NATS client connects as a role: the server, its credentials and its prefix of reply subjects."""
        return {"url": self.nats_url, "creds": str(self.home / "keys" / f"{role}.creds"), "inbox": f"_INBOX_{role}"}

    def post(self, path, body, method="POST"):
        return fetch_json(self.gateway_url + path, token=self.token, body=body, method=method)

    def build(self, image, **fields):
        """Records a build of the registry's private image with its login, unless `fields` say otherwise."""
        login = {"USERNAME": USER, "PASSWORD": PASSWORD}
        body = {"workspace": WORKSPACE, "image_id": image, "existing_image_uri": self.registry.reference}
        return self.post("/v1/builds", {**body, **(fields or {"existing_image_creds": login})})

    def place(self, container, image, worker=WORKER):
        """Requests a container and returns its placement."""
        body = {"workspace": WORKSPACE, "container_id": container, "image_id": image, "worker_id": worker}
        return self.post("/v1/containers", body)["placement"]

    def explain(self, container):
        """What the gateway tells of a container."""
        return fetch_json(f"{self.gateway_url}/v1/containers/{WORKSPACE}/{container}/explain", token=self.token)

    def until_pulled(self, container):
        is_healthy = lambda: self.explain(container)["verdict"]["state"] == "healthy"
        until(is_healthy, f"the pull of {container}", self.service)

    def access_file(self, container, worker=WORKER):
        """The key of a container on its node, once the worker has written it."""
        file = self.node / worker / WORKSPACE / container / "access"
        until(file.is_file, f"the access file of {container}", self.service)
        return file


class World:
    """What one run of the peers shares, made when it is first asked for."""

    def __init__(self):
        # Short: the path of a Unix socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="peers-"))
        self.started, self.shared, self.broken = [], None, None
        BIN.mkdir(parents=True, exist_ok=True)
        os.environ["PATH"] = f"{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(self.started):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def scratch(self, name):
        """A new folder of a peer's."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def serve(self, name, argv, **options):
        """A server of a peer's, which ends with the run at the latest."""
        service = Service(argv, LOGS / f"{name}-server.log", **options)
        self.started.append(service)
        return service

    def registry(self):
        return self.together()[0]

    def waybill(self):
        """The Waybill that most peers share; its container `c-1` on `node-1` has pulled the registry's private image."""
        return self.together()[1]

    def own_waybill(self, name, settings=None, **options):
        """A Waybill for one peer, which may stop it early."""
        waybill = Waybill(self.folder / name, self.registry(), settings, **options)
        self.started.append(waybill)
        return waybill

    def together(self):
        if self.broken:
            raise self.broken
        if not self.shared:
            try:
                self.shared = self.start()
            except Exception as error:
                # Each peer that needs it then tells the same, instead of starting it once more.
                self.broken = error
                raise
        return self.shared

    def start(self):
        registry = Registry(self.folder / "registry")
        self.started.append(registry)
        waybill = Waybill(self.folder / "w", registry)
        self.started.append(waybill)
        waybill.build("img-1")
        waybill.place("c-1", "img-1")
        waybill.until_pulled("c-1")
        return registry, waybill

    def node_environment(self, container="c-1"):
        """The environment of a program on `node-1` that pulls for a container: Waybill's helper is named for the registry."""
        registry, waybill = self.together()
        home = self.scratch("home")
        (home / "config.json").write_text(json.dumps({"credHelpers": {registry.host: "waybill"}}), "utf-8")
        return {
            "PATH": f"{ROOT / 'target' / 'debug'}:{os.environ['PATH']}",
            "HOME": str(home),
            "DOCKER_CONFIG": str(home),
            "WAYBILL_SOCKET": str(waybill.node / WORKER / "waybill.sock"),
            "WAYBILL_ACCESS_FILE": str(waybill.access_file(container)),
        }

    def stranger_environment(self):
        """The same without credentials: what works with it proves nothing."""
        home = self.scratch("stranger")
        return {"PATH": os.environ["PATH"], "HOME": str(home), "DOCKER_CONFIG": str(home)}
