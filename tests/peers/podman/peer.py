"""podman and skopeo pull the private image through docker-credential-waybill, and are refused without it."""

import os

from kit.bring import debian, run


def check(world):
    skopeo, podman = debian("skopeo"), debian("podman")
    registry, env = world.registry(), world.node_environment()
    where = ["--tls-verify=false", f"docker://{registry.reference}"]
    # Both read their own file before Docker's, so that the helper is named there.
    env["REGISTRY_AUTH_FILE"] = f"{env['DOCKER_CONFIG']}/config.json"
    stranger = world.stranger_environment()
    digest = run([skopeo, "inspect", "--format", "{{.Digest}}", *where], env=env).stdout.strip()
    assert digest == registry.digest, f"skopeo read {digest} instead of {registry.digest}"
    refused = run([skopeo, "inspect", *where], env=stranger, check=False)
    assert refused.returncode != 0 and "authentication required" in refused.stderr, f"a stranger: {refused.stderr}"
    store = world.scratch("podman")
    # Storage of its own, without overlay mounts: nothing of the machine's is touched, and no kernel module is needed.
    engine = [podman, "--root", store / "root", "--runroot", store / "run", "--storage-driver", "vfs"]
    policy = store / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}', "utf-8")
    pull = [*engine, "pull", "--quiet", "--tls-verify=false", "--signature-policy", policy, registry.reference]
    image = run(pull, env=env).stdout.strip()
    assert len(image) == 64, f"podman pulled {image}"
    run([*engine, "rmi", "--force", image], env=env)
    refused = run(pull, env=stranger, check=False)
    assert refused.returncode != 0, f"podman pulled as a stranger: {refused.stdout}"
    assert os.path.isdir(store / "root"), "podman used another store than its own"
