"""Prints the lines of a stream that `fastlog ship` fills, and waits for more: python3 read.py [URL [STREAM]]"""

import asyncio
import contextlib
import sys

import nats
from nats.errors import TimeoutError as NothingNewError

URL = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
STREAM = sys.argv[2] if len(sys.argv) > 2 else "LOGS"


async def main() -> None:
    connection = await nats.connect(URL)
    # The stream remembers under this name what was acknowledged, also when this program ends.
    reader = await connection.jetstream().pull_subscribe("fastlog.>", durable="reader", stream=STREAM)
    while True:
        try:
            messages = await reader.fetch(16, timeout=5)
        except NothingNewError:
            continue
        for message in messages:  # each has whole lines of one log file, in order
            sys.stdout.buffer.write(message.data)
            sys.stdout.buffer.flush()
            await message.ack()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
