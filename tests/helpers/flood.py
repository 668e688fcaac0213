"""A sender that floods as fast as it can, in a process of its own, from an address of its own on loopback."""

import subprocess
import sys

from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC

# Sends the datagrams in turn, from as many sockets, until its input ends. Prints how many it sent.
FLOOD = """
import itertools, select, socket, sys
address, host, port, *datagrams = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
sender = socket.socket(family, socket.SOCK_DGRAM)
sender.bind((address, 0))
sender.connect((host, int(port)))
sent = 0
datagrams = [datagram.encode() for datagram in datagrams]
print("sending", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for datagram in datagrams * 100:
        sender.send(datagram)
        sent += 1
print(sent)
"""


class Flood:
    def __init__(self, address: str, host: str, port: int, *datagrams: str, inside: tuple[str, ...] = ()) -> None:
        self.address = address
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-c", FLOOD, address, host, str(port), *datagrams],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=BASE_ENVIRONMENT,
        )
        assert self._process.stdout.readline() == "sending\n"

    def end(self) -> int:
        """Ends the flood; returns how many datagrams it sent."""
        printed, _ = self._process.communicate(timeout=PATIENCE_SEC)
        return int(printed)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
