"""crane reads the private image through docker-credential-waybill, and is refused without it."""

from kit.bring import go_tool, run

PACKAGE, VERSION = "github.com/google/go-containerregistry/cmd/crane", "v0.22.1"


def check(world):
    crane = go_tool("crane", PACKAGE, VERSION)
    registry, env = world.registry(), world.node_environment()
    digest = run([crane, "digest", registry.reference], env=env).stdout.strip()
    assert digest == registry.digest, f"crane read {digest} instead of {registry.digest}"
    image = world.scratch("crane") / "image.tar"
    run([crane, "pull", registry.reference, image], env=env)
    assert image.stat().st_size > 0, "crane pulled an empty archive"
    refused = run([crane, "digest", registry.reference], env=world.stranger_environment(), check=False)
    assert refused.returncode != 0 and "UNAUTHORIZED" in refused.stderr, f"a stranger was answered: {refused.stderr}"
