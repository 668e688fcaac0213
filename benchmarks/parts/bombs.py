"""20,000 good entries a second, and beside them 1,000 bombs of 64 KB, at a real server: what became of both.

    python -m benchmarks.parts.bombs [SECONDS]

The machine must be quiet, and let the server have a receive buffer of 32 MiB: 64 MB of bombs come each second.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.bombs import bomb, many_blocks
from tests.helpers.disk import info
from tests.helpers.running import Server, eventually

GOOD_PER_SEC = 20_000
BOMBS_PER_SEC = 1_000
RECEIVE_BUFFER_BYTES = 32 << 20
BOMBS = {"no bombs": b"", "a thousand times its size": bomb(), "4,500 blocks of nothing": many_blocks(4_500)}


def run(name: str, seconds: float) -> str:
    datagram, good, bad = BOMBS[name], 0, 0
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory), RCVBUF_SIZE=str(RECEIVE_BUFFER_BYTES))
        try:
            with server.client() as sender, server.client() as attacker:
                began_cpu, began = server.stats()["process"]["cpu_seconds"], time.monotonic()
                while (passed := time.monotonic() - began) < seconds:
                    while good < passed * GOOD_PER_SEC:
                        sender.send(info(good))
                        good += 1
                    while datagram and bad < passed * BOMBS_PER_SEC:
                        attacker.send(datagram)
                        bad += 1
                    time.sleep(0.001)
            stats = eventually(
                server.stats, lambda stats: stats["datagrams"] + stats["losses"]["kernel_drops"] == good + bad
            )
            cpu = stats["process"]["cpu_seconds"] - began_cpu
            taken, refused = stats["total_received"], stats["rejected"]["gelf"]
            return (
                f"{name}: {taken:,} of {good:,} entries received, {refused:,} of {bad:,} bombs rejected, "
                f"{stats['losses']['kernel_drops']:,} dropped by the kernel, {cpu / seconds:.0%} of a core"
            )
        finally:
            server.close()


if __name__ == "__main__":
    for each in BOMBS:
        print(run(each, float(sys.argv[1]) if len(sys.argv) > 1 else 5.0), flush=True)
