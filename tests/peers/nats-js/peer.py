"""nats.js with the CloudEvents SDK for JavaScript places a container and reads the decision."""

from pathlib import Path
from shutil import copy

from kit.bring import node, npm_packages
from kit.orchestrator import place

PACKAGES = ["@nats-io/transport-node@3.4.0", "@nats-io/jetstream@3.4.0", "cloudevents@10.0.0"]


def check(world):
    folder = npm_packages("nats-js", *PACKAGES)
    # Node looks for packages beside the file, whatever the working folder is.
    program = copy(Path(__file__).with_name("orchestrator.mjs"), folder)
    place(world, "nats-js", [node(), program])
