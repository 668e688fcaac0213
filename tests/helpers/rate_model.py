"""What RATE_LIMIT means, in fractions and without a table: what fastlog/server/_rate_limit.pyx must agree with."""

from fractions import Fraction

from fastlog.server._rate_limit import LOOKS_MIN

KIB = 1024
Piece = tuple[bool, int]  # whether it is a priority entry; the bytes for which it takes more tokens


class Bucket:
    def __init__(self, rate: int, burst: int, now_ms: int) -> None:
        self.rate, self.burst = rate, burst
        self.tokens, self.at_ms = Fraction(burst), now_ms

    def fill(self, now_ms: int) -> None:
        self.tokens = min(Fraction(self.burst), self.tokens + Fraction(self.rate * (now_ms - self.at_ms), 1000))
        self.at_ms = now_ms

    @property
    def has_one(self) -> bool:
        return self.tokens >= 1

    def take(self, size: int) -> None:
        self.tokens -= 1 + size // KIB


class Host:
    def __init__(self, rate: int, burst: int, now_ms: int) -> None:
        self.entries = {kind: Bucket(rate, burst, now_ms) for kind in (False, True)}
        self.looks = Bucket(LOOKS_MIN, LOOKS_MIN, now_ms)
        self.passed = self.refused = self.refused_bytes = self.rejected = 0

    def datagram(self, now_ms: int, size: int, pieces: list[Piece]) -> list[bool] | None:
        for bucket in (*self.entries.values(), self.looks):
            bucket.fill(now_ms)
        empty = [not bucket.has_one for bucket in self.entries.values()]
        if all(empty) or (any(empty) and not self.looks.has_one):
            taken = None
        else:
            if any(empty):
                self.looks.take(size)
            taken = [self._takes(*piece) for piece in pieces]
            if not pieces:
                self.entries[False].take(size)
        self._count(size, taken)
        return taken

    def _takes(self, is_priority: bool, size: int) -> bool:
        bucket = self.entries[is_priority]
        if not bucket.has_one:
            return False
        bucket.take(size)
        return True

    def _count(self, size: int, taken: list[bool] | None) -> None:
        rejected = 1 if taken is None else taken.count(False)
        self.rejected += rejected
        if rejected:
            self.refused += 1
            self.refused_bytes += size
        else:
            self.passed += 1
