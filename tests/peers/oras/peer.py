"""oras copies the private image through docker-credential-waybill, and is refused without it."""

import json

from kit.bring import go_tool, run

PACKAGE, VERSION = "oras.land/oras/cmd/oras", "v1.3.6"


def check(world):
    oras = go_tool("oras", PACKAGE, VERSION)
    registry, env = world.registry(), world.node_environment()
    told = run([oras, "manifest", "fetch", "--plain-http", "--descriptor", registry.reference], env=env).stdout
    assert json.loads(told)["digest"] == registry.digest, f"oras read {told}"
    layout = world.scratch("oras")
    run([oras, "copy", "--from-plain-http", registry.reference, "--to-oci-layout", f"{layout}:1"], env=env)
    index = json.loads((layout / "index.json").read_text("utf-8"))
    assert index["manifests"][0]["digest"] == registry.digest, f"oras copied {index}"
    argv = [oras, "manifest", "fetch", "--plain-http", registry.reference]
    refused = run(argv, env=world.stranger_environment(), check=False)
    assert refused.returncode != 0 and "credential not found" in refused.stderr, f"a stranger: {refused.stderr}"
