"""What an input of the chunks' target means: which chunks come, of which messages, from whom and when."""

from collections.abc import Iterator

STEP_BYTES = 4
SIZES = (0, 1, 2, 100, 1_023, 1_024, 1_025, 40_000)  # of parts
COUNTS = (1, 2, 3, 4, 9, 127, 128, 129)


def steps(data: bytes) -> Iterator[tuple[tuple[int, int, int], bytes, int]]:
    """A step's bytes are the sender with the message's id, the count with the part's size, the chunk's number, and the
    time. It yields the sender's address, the datagram, and the milliseconds that have passed."""
    for at in range(0, len(data) - STEP_BYTES + 1, STEP_BYTES):
        who, what, number, time = data[at : at + STEP_BYTES]
        header = b"\x1e\x0f" + bytes(7) + bytes([who & 63, number, COUNTS[what >> 3 & 7]])
        datagram = header + bytes([number]) * SIZES[what & 7]
        if time == 255:
            datagram = datagram[: what % (len(header) + 1)]
        yield (0, who >> 6, what >> 6), datagram, time * time // 8
