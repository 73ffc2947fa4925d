"""An orchestrator in Python: what the CloudEvents SDK writes is published, and what is read goes through it."""

import asyncio
import json
import sys

import nats
import nats.js.errors
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent


async def main(question):
    connection = question["connection"]
    client = await nats.connect(
        connection["url"], user_credentials=connection["creds"], inbox_prefix=connection["inbox"].encode()
    )
    stream = client.jetstream()
    attributes = {name: question[name] for name in ("id", "source", "type")}
    message = to_binary_event(CloudEvent(attributes={**attributes, "specversion": "1.0"}, data=question["body"]))
    headers = {**message.headers, "Nats-Expected-Last-Subject-Sequence": "0", "Nats-Msg-Id": question["id"]}
    told = await stream.publish(question["subject"], message.body, headers=headers)
    try:
        again = await stream.publish(question["subject"], message.body, headers=headers)
        repeated = "duplicate" if again.duplicate else "stored"
    except nats.js.errors.APIError as error:
        repeated = error.err_code
    reader = await stream.pull_subscribe_bind(consumer=question["consumer"], stream="WAYBILL")
    decision = await read_decision(reader, question["id"])
    print(json.dumps({"placement": told.seq, "repeated": repeated, "decision": decision}))
    await client.close()


async def read_decision(reader, cause):
    while True:
        for message in await reader.fetch(1, timeout=30):
            await message.ack()
            event = from_binary_event(HTTPMessage(headers=message.headers, body=message.data))
            if event.get_extension("causationid") == cause:
                return {"type": event.get_type(), "causationid": cause, "data": as_json(event.get_data())}


def as_json(data):
    """A body is JSON by `ce-datacontenttype`, which HTTP spells Content-Type, so that the SDK may leave it as bytes."""
    return data if isinstance(data, dict) else json.loads(data)


asyncio.run(main(json.load(sys.stdin)))
