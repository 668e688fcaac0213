from typing_extensions import Buffer

CHUNKS_MAX: int
WAITING_MAX: int
OF_ONE_SENDER_MAX: int
BLOCK_BYTES: int
BLOCKS: int
WAIT_MS: int
OVER_MAX: int
OUTCOMES: tuple[str, ...]

class Chunks:
    def __init__(self, secret: bytes) -> None: ...
    received: int
    @property
    def repeated(self) -> int: ...
    @property
    def completed(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    @property
    def due_ms(self) -> int | None: ...
    def take(
        self,
        address: tuple[int, int, int],
        datagram: Buffer,
        now_ms: int,
        host: tuple[int, int, int] | None = None,
    ) -> tuple[str, bytes | None, list[bytes]]: ...
