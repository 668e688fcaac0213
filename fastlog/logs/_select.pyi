NEEDLES_MAX: int

_Bounds = tuple[bytes, bytes, bytes, bytes]

class Selector:
    def __init__(
        self, levels: int, groups: list[list[tuple[bytes, bytes, bool, bytes]]], bounds: list[_Bounds]
    ) -> None: ...
    def runs(self, block: bytes | bytearray, start: int, end: int) -> list[tuple[int, int, bool]]: ...
