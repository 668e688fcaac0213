from typing import TypedDict

WINDOW: int
JUMP_MAX: int
PROOF_ROW: int
TURNS: int
TURN_REACH: int
SENDERS_MAX: int
NEW_MIN: int
FEW: int
ESTABLISHED_ENTRIES: int
ESTABLISHED_MS: int
RETIRE_MAX: int

class Totals(TypedDict):
    received: int
    lost: int
    missing: int
    repeated: int
    late: int
    restarts: int
    senders: int
    retired: int
    pushed_out: int

_Ranked = tuple[str, int, int, float]
_Sender = tuple[str, int, int, int, int, float, float]

class Ledger:
    def __init__(self, secret: bytes) -> None: ...
    def totals(self) -> Totals: ...
    def top(self, count: int, now_ms: int) -> list[_Ranked]: ...
    def worst(self, count: int, now_ms: int) -> list[_Ranked]: ...
    def retire(self, now_ms: int, idle_ms: int) -> int: ...
    def sender(self, high: int, low: int, scope_and_port: int, now_ms: int) -> _Sender | None: ...
