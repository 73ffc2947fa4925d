"""Debian's docker-registry with one account, and an image in it that nobody else may read."""

import base64
import gzip
import hashlib
import http.client
import io
import json
import tarfile

from .processes import Service, free_port, until

USER, PASSWORD = "puller", "only-on-loopback"
# bcrypt of the password at its lowest cost: it guards a registry on loopback for as long as the peers run.
HTPASSWD = f"{USER}:$2b$04$jlRqWhLRpanYZNu4DdRAg.0sdW6xCVWdgSPidVeKcD9Z3qlqx2eHG\n"
REPOSITORY, TAG = "team/app", "1"


class Registry:
    """The registry, with `reference` in it and its manifest's `digest`."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.host = f"127.0.0.1:{free_port()}"
        (folder / "htpasswd").write_text(HTPASSWD, "utf-8")
        config = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
            "http": {"addr": self.host},
            "auth": {"htpasswd": {"realm": "peers", "path": str(folder / "htpasswd")}},
        }
        (folder / "config.yml").write_text(json.dumps(config), "utf-8")  # JSON is YAML too
        self.service = Service(["docker-registry", "serve", folder / "config.yml"], folder / "registry.log")
        until(lambda: self.ask("GET", "/v2/")[0] == 200, f"the registry at {self.host}", self.service)
        self.reference = f"{self.host}/{REPOSITORY}:{TAG}"
        self.digest = self.push_image()

    def stop(self):
        self.service.stop()

    def ask(self, method, path, body=b"", kind="application/octet-stream"):
        """One request with the account's login: status, headers and body of the answer."""
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            connection.request(method, path, body, {"Authorization": f"Basic {login}", "Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def push_blob(self, content):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        _, headers, _ = self.ask("POST", f"/v2/{REPOSITORY}/blobs/uploads/")
        place = headers["Location"].split(self.host, 1)[-1]
        status, _, body = self.ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", content)
        assert status == 201, f"the registry refused a blob: {status} {body}"
        return digest, len(content)

    def push_image(self):
        """An image of one file, as an OCI manifest; returns its digest."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as layer:
            layer.addfile(tarfile.TarInfo("peers"), io.BytesIO())
        plain, config = archive.getvalue(), "application/vnd.oci.image.config.v1+json"
        packed = gzip.compress(plain, mtime=0)
        root = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]}
        about = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()
        kinds = [(config, about), ("application/vnd.oci.image.layer.v1.tar+gzip", packed)]
        parts = [dict(zip(("digest", "size"), self.push_blob(content)), mediaType=kind) for kind, content in kinds]
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": parts[0], "layers": parts[1:]}
        status, headers, body = self.ask("PUT", f"/v2/{REPOSITORY}/manifests/{TAG}", json.dumps(manifest).encode(), kind)
        assert status == 201, f"the registry refused the manifest: {status} {body}"
        return headers["Docker-Content-Digest"]
