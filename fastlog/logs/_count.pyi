BY_LEVEL: int
BY_APP: int
BY_HOST: int
BY_MINUTE: int
MINUTE_USEC: int

def count_lines(
    block: bytes | bytearray, runs: list[tuple[int, int]], by: int
) -> tuple[dict[str | int | None, int], int, list[tuple[int, int]]]: ...
