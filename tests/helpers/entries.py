"""Entries as datagrams, and the lines that become of them."""

ERROR_7 = b'{"timestamp":"2026-11-24T07:00:00.000000Z","sequence":7,"app":"x","level":"ERROR","message":"disk full","host":"h"}'
INFO = b'{"level":"INFO","message":"m"}'


def entries(count: int, level: str = "INFO", size: int = 60) -> list[bytes]:
    return [
        b'{"sequence":%d,"level":"%b","message":"%b"}' % (number, level.encode(), b"x" * (number * 7 % size))
        for number in range(count)
    ]


def lines(datagrams: list[bytes]) -> bytes:
    return b"".join(datagram + b"\n" for datagram in datagrams)
