"""nats.go with the CloudEvents SDK for Go places a container and reads the decision."""

from pathlib import Path

from kit.bring import go_program
from kit.orchestrator import place


def check(world):
    place(world, "nats-go", [go_program(Path(__file__).parent)])
