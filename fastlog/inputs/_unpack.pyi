from typing_extensions import Buffer

MESSAGE_MAX_BYTES: int
BLOCKS_MAX: int

class Unpacker: ...

def unpack(packed: Buffer) -> bytes | None: ...
