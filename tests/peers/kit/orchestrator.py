"""What an orchestrator in any language has to manage: place a container once, and read the decision about it.

Its program reads what to do as JSON from standard input and answers in JSON: `placement`, what became of saying it
`repeated`, and the `decision` as its language's CloudEvents SDK reads it.
"""

import json
import uuid

from .bring import run
from .world import WORKER, WORKSPACE

EVENTS_PREFIX = f"waybill.events.container.{WORKSPACE}"


def place(world, container, argv, env=None):
    """Has the program place `container`, and holds its answer against what Waybill says itself."""
    waybill = world.waybill()
    request = uuid.uuid4().hex
    question = {
        "connection": waybill.connection(f"orchestrator-{WORKSPACE}"),
        "consumer": f"orchestrator-{WORKSPACE}-decisions",
        "subject": f"{EVENTS_PREFIX}.{container}.{request}",
        "id": str(uuid.uuid4()),
        "type": "waybill.v1.ContainerRequested",
        "source": f"/peers/{container}",
        "body": {"workspace": WORKSPACE, "container_id": container, "image_id": "img-1", "worker_id": WORKER},
    }
    said = json.loads(run(argv, env=env, stdin=json.dumps(question)).stdout)
    assert said["repeated"] in ("duplicate", 10071), f"the same request again was {said['repeated']}"
    decision = said["decision"]
    assert decision["type"] == "waybill.v1.ContainerCredentialsAttached", f"decided was {decision}"
    assert decision["causationid"] == question["id"], f"the decision follows from {decision['causationid']}"
    assert decision["data"]["placement"] == said["placement"], f"the decision is about {decision['data']}"
    waybill.until_pulled(container)
    story = waybill.run("events", "--container", container, "--json").stdout
    assert question["source"] in story, f"the log lost the source {question['source']}: {story}"
