"""Asks on the subject `greet` and prints the answer."""

import asyncio
import os
import sys

import nats


async def main(url: str) -> None:
    client = await nats.connect(url)
    answer = await client.request("greet", os.environ["GREETED"].encode(), timeout=20)
    print(answer.data.decode())
    await client.close()


asyncio.run(main(sys.argv[1]))
