"""nats-py with the CloudEvents SDK for Python places a container and reads the decision."""

import os
import sys
from pathlib import Path

from kit.bring import python_packages
from kit.orchestrator import place


def check(world):
    packages = python_packages("nats-py", "nats-py[nkeys]==2.16.0", "cloudevents==2.2.0")
    env = {**os.environ, "PYTHONPATH": str(packages)}
    place(world, "nats-py", [sys.executable, Path(__file__).with_name("orchestrator.py")], env)
