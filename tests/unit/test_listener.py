"""The receiving socket: what the kernel reports about it."""

import struct

import pytest

from fastlog.server.listener import SO_MEMINFO, Listener


class CountingSocket:
    """A socket whose counter of drops the test sets. It has 32 bits, as the kernel's has."""

    drops = 0

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        return struct.pack("=9I", *[0] * 8, self.drops) if option == SO_MEMINFO else 1 << 20

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 5514

    def setsockopt(self, *_: int) -> None:
        pass


@pytest.mark.parametrize("handed_over", [False, True])
def test_drops_are_counted_on_when_the_kernels_counter_wraps_around(handed_over):
    sock = CountingSocket()
    sock.drops = 10 if handed_over else 0
    listener = Listener(sock, 1 << 20, handed_over=handed_over)
    assert listener.dropped_before == sock.drops
    for drops in (4_000_000_000, 4_294_967_295, 4_294_967_296, 4_294_967_297, 8_000_000_000, 8_589_934_600):
        sock.drops = drops % (1 << 32)
        assert listener.drops() == drops
        assert listener.drops() == drops
