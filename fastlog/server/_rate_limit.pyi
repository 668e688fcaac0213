from typing import NamedTuple

HOSTS_MAX: int
WAYS: int
NETWORK_SETS: int
NETWORK_WAYS: int
LOOKS_MIN: int
OVER_MAX: int
WITHIN_MS: int
OTHERS: str

class Over(NamedTuple):
    address: str
    packed: bytes | None
    passed: int
    refused: int
    refused_bytes: int
    rejected: int
    is_over: bool

class RateLimit:
    def __init__(self, rate: int = 0, burst: int = 1) -> None: ...
    @property
    def on(self) -> bool: ...
    @property
    def has_news(self) -> bool: ...
    def report(self, now_ms: int) -> list[Over]: ...
