"""regctl copies the private image through docker-credential-waybill, and is refused without it."""

import json

from kit.bring import go_tool, run

PACKAGE, VERSION = "github.com/regclient/regclient/cmd/regctl", "v0.11.7"


def check(world):
    regctl = go_tool("regctl", PACKAGE, VERSION)
    registry, env = world.registry(), world.node_environment()
    plain = [regctl, "--host", f"reg={registry.host},tls=disabled"]
    digest = run([*plain, "image", "digest", registry.reference], env=env).stdout.strip()
    assert digest == registry.digest, f"regctl read {digest} instead of {registry.digest}"
    layout = world.scratch("regctl")
    run([*plain, "image", "copy", registry.reference, f"ocidir://{layout}:1"], env=env)
    index = json.loads((layout / "index.json").read_text("utf-8"))
    assert index["manifests"][0]["digest"] == registry.digest, f"regctl copied {index}"
    refused = run([*plain, "image", "digest", registry.reference], env=world.stranger_environment(), check=False)
    told = refused.stderr.lower()
    assert refused.returncode != 0 and "unauthorized" in told, f"a stranger was answered: {told}"
