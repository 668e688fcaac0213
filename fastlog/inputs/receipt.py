"""What the server knows of a datagram besides its bytes, for the references. `_receipt.pxd` says the same in C."""

import msgspec


class Receipt(msgspec.Struct, frozen=True):
    """`received`: the time of receipt, such as `2026-11-26T08:30:00.000000Z`. `source`: the sender, such as
    `192.0.2.17:40312`. `host`: the sender's address without the port; None: it has none (a unix socket)."""

    received: str
    source: str
    host: str | None
