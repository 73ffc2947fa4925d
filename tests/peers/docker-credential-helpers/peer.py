"""The client library of docker-credential-helpers gets, lists, stores and erases, and knows what is not found."""

from pathlib import Path

from kit.bring import go_program, run
from kit.registry import PASSWORD, USER


def check(world):
    client = go_program(Path(__file__).parent)
    registry, env = world.registry(), world.node_environment()
    # By the environment: an argument can be read by every process of the machine.
    env = {**env, "EXPECTED_HOST": registry.host, "EXPECTED_USER": USER, "EXPECTED_PASSWORD": PASSWORD}
    run([client], env=env)
