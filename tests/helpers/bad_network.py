"""A UDP relay that drops, repeats and reorders datagrams in both directions, in a process of its own. The same seed
chooses the same datagrams. `BadNetwork` starts the relay; run as a program, this file is the relay."""

import random
import select
import socket
import subprocess
import sys

HELD_SEC = 0.002  # a datagram that is held back is sent then, if no other has overtaken it
IDLE_SEC = 60  # the relay ends by itself if nobody uses it for so long


class BadNetwork:
    def __init__(self, port: int, seed: int, drop: float, repeat: float, reorder: float) -> None:
        arguments = [str(value) for value in (port, seed, drop, repeat, reorder)]
        self._process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE)
        self.port = int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class Direction:
    """Datagrams from one side to the other."""

    def __init__(self, rng: random.Random, drop: float, repeat: float, reorder: float, send) -> None:
        self._rng, self._drop, self._repeat, self._reorder, self._send = rng, drop, repeat, reorder, send
        self.held: bytes | None = None

    def relay(self, datagram: bytes) -> None:
        dropped, repeated, late = (self._rng.random() < share for share in (self._drop, self._repeat, self._reorder))
        if not dropped and late and self.held is None:
            self.held = datagram
            return
        if not dropped:
            self._send(datagram)
        if repeated and not dropped:
            self._send(datagram)
        self.release()

    def release(self) -> None:
        if self.held is not None:
            self._send(self.held)
            self.held = None


def main(port: int, seed: int, drop: float, repeat: float, reorder: float) -> None:
    front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    front.bind(("127.0.0.1", 0))
    back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    back.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    back.connect(("127.0.0.1", port))
    print(front.getsockname()[1], flush=True)
    client = None
    to_server = Direction(random.Random(seed), drop, repeat, reorder, back.send)
    to_client = Direction(
        random.Random(seed + 1), drop, repeat, reorder, lambda datagram: front.sendto(datagram, client)
    )
    while True:
        held = to_server.held is not None or to_client.held is not None
        ready, _, _ = select.select([front, back], [], [], HELD_SEC if held else IDLE_SEC)
        if front in ready:
            datagram, client = front.recvfrom(65536)
            to_server.relay(datagram)
        if back in ready:
            to_client.relay(back.recv(65536))
        if not ready:
            if not held:
                return
            to_server.release()
            to_client.release()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *map(float, sys.argv[3:]))
