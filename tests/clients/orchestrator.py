"""An orchestrator in Python that knows only schemas/asyncapi.yaml: places a container once, prints the decision."""
import asyncio
import json
import sys
import uuid

import nats


async def main(url, credentials, workspace):
    user = f"orchestrator-{workspace}"
    nc = await nats.connect(url, user_credentials=credentials, inbox_prefix=f"_INBOX_{user}".encode())
    js = nc.jetstream()
    event_id = str(uuid.uuid4())
    subject = f"waybill.events.container.{workspace}.py-1.{event_id}"
    body = {"workspace": workspace, "container_id": "py-1", "image_id": "img", "worker_id": "w1"}
    headers = {
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Msg-Id": event_id,
        "ce-id": event_id,
        "ce-source": "/python/orchestrator",
        "ce-specversion": "1.0",
        "ce-type": "waybill.v1.ContainerRequested",
        "ce-datacontenttype": "application/json",
    }
    ack = await js.publish(subject, json.dumps(body).encode(), headers=headers)
    # Once more, as after a lost acknowledgement: the log says that it is there.
    try:
        again = await js.publish(subject, json.dumps(body).encode(), headers=headers)
        repeated = "duplicate" if again.duplicate else "stored"
    except nats.js.errors.APIError as error:
        repeated = error.err_code
    sub = await js.pull_subscribe_bind(consumer=f"{user}-decisions", stream="WAYBILL")
    while True:
        for message in await sub.fetch(1, timeout=30):
            await message.ack()
            if message.headers.get("ce-causationid") == event_id:
                body = json.loads(message.data)
                told = {"placement": ack.seq, "repeated": repeated, "type": message.headers["ce-type"], "body": body}
                print(json.dumps(told))
                await nc.close()
                return


asyncio.run(main(*sys.argv[1:]))
