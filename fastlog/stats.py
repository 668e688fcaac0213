"""What a running server tells of itself: one snapshot, made by the loop, and read by whoever shows it.

The types are the contract of `/stats` (docs/http-api.md). A figure that could not be read is None, never 0.
"""

from typing import Literal

import msgspec


class Rates(msgspec.Struct, frozen=True):
    """Entries a second. `history` has one figure for each of the last seconds, at most 300, the newest last."""

    peak: float
    average: float
    history: list[int]


class LossAges(msgspec.Struct, frozen=True):
    """Seconds since each figure last grew beyond its largest value; None: never since the server's start."""

    kernel_drops: float | None
    sequence_gaps: float | None
    network: float | None
    disk: float | None
    rejected: float | None


class Losses(msgspec.Struct, frozen=True):
    """What did not reach the file, by cause: the kernel, the network, the disk. `sequence_gaps` is not a cause."""

    kernel_drops: int | None  # datagrams that the kernel dropped because the receive buffer was full
    sequence_gaps: int  # missing sequences of all senders, whether the kernel or the network lost them
    network: int | None  # an estimate: the gaps that the kernel's drops do not explain; None while those are unknown
    disk: int  # entries that the disk refused
    seconds_since: LossAges


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from an entry's receipt to its ACK, over the newest ACKs; None while there is none."""

    p50: float | None
    p99: float | None
    max: float | None


class AckStats(msgspec.Struct, frozen=True):
    sent: int
    pending: int  # owed for entries that are not durable yet
    dropped: int  # not sent, since the send buffer was full or the disk failed: their senders ask again
    latency_ms: Latency


class Disk(msgspec.Struct, frozen=True):
    failure: str | None  # what the disk says while it refuses; None: it works
    log_file: str
    log_bytes: int
    log_limit_bytes: int
    rotations: int
    free_bytes: int | None  # of the file system of LOG_DIR
    total_bytes: int | None
    torn_bytes: int  # of an unfinished last line, cut off at the start
    rejects_not_noted: int  # rejected pieces that are counted, but not in rejects.jsonl


class SyncState(msgspec.Struct, frozen=True):
    mode: str  # how entries are made durable
    count: int
    failures: int
    last_ms: float | None


class ReceiveBuffer(msgspec.Struct, frozen=True):
    """Bytes of SO_RCVBUF."""

    wanted: int
    granted: int


class SenderStats(msgspec.Struct, frozen=True):
    address: str
    received: int
    lost: int  # by the gaps in its sequences
    seconds_since_last: float


class Process(msgspec.Struct, frozen=True):
    """The server's process, by the kernel's word."""

    pid: int
    cpu_seconds: float  # of all its threads, in user and in kernel mode, since its start
    resident_bytes: int | None


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """`reasons` why entries are being lost or may be; `warnings` are no reason yet."""

    status: Literal["ok", "degraded"]
    reasons: list[str] = []
    warnings: list[str] = []


class Stats(msgspec.Struct, frozen=True):
    """Counters count since the server's start."""

    health: Health
    total_received: int  # valid entries, duplicates included
    logs_per_second: float  # over the last few seconds
    elapsed_seconds: float  # since the server's start
    level_distribution: dict[str, int]
    priority_entries: int  # taken since the start, duplicates not counted; recent_errors has the newest of them
    recent_errors: list[msgspec.Raw]  # entries of priority levels as they were stored, the newest last
    stored: int
    duplicates: int
    buffered: int
    rejected: dict[str, int]
    losses: Losses
    acks: AckStats
    datagrams: int
    bytes: int  # of all datagrams
    rates: Rates
    disk: Disk
    sync: SyncState
    receive_buffer: ReceiveBuffer
    senders: int  # known now: those idle for an hour are forgotten but for the totals
    sender_restarts: int  # whose sequences began again
    top_senders: list[SenderStats]  # those who sent most, and those of whom most was lost
    process: Process
    settings: dict[str, str]
    version: str


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Stats))).decode())
