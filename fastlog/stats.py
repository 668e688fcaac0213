"""The stats of a running server: one snapshot, which its loop makes, and every command and page reads.

The types are the contract of `/stats`. Each figure is declared once, with its meaning and its metric: `/metrics`, the
JSON schema and the table in docs/http-api.md are made from the declarations. A figure that could not be read is None,
never 0.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

MetricType = Literal["counter", "gauge", "histogram"]


ACK_LATENCY = "fastlog_ack_latency_seconds"


class Metric(msgspec.Struct, frozen=True):
    """How a figure is shown in `/metrics`.

    `name` is without the `_total` of a counter. A figure that is a table has its keys in `label`, and one of each
    struct in a list has there what tells the structs apart. A histogram is two figures: a table of its buckets, each of
    which counts those before it as well, and the sum. `convert` makes the base unit of Prometheus, such as seconds,
    from the figure's.
    """

    type: MetricType
    name: str
    label: str = ""
    convert: Callable[[Any], float] = float

    @property
    def full_name(self) -> str:
        if self.type == "histogram":
            return f"{self.name}_bucket" if self.label else f"{self.name}_sum"
        return f"{self.name}_total" if self.type == "counter" else self.name


class Figure(msgspec.Struct, frozen=True):
    """A figure as it is declared. `key` is its path in `/stats`, such as `losses.disk`."""

    key: str
    meaning: str
    metric: Metric | None


def figure(meaning: str, metric: Metric | None = None) -> msgspec.Meta:
    return msgspec.Meta(description=meaning, extra={"metric": metric})


def counter(name: str, label: str = "") -> Metric:
    return Metric("counter", name, label)


def gauge(name: str, convert: Callable[[Any], float] = float) -> Metric:
    return Metric("gauge", name, convert=convert)


def _seconds(milliseconds: float) -> float:
    return milliseconds / 1000


def _is_ok(status: str) -> float:
    return float(status == "ok")


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    status: Annotated[
        Literal["ok", "degraded"],
        figure(
            "`degraded` while entries are being lost or may be; as a metric 1 is `ok`", gauge("fastlog_healthy", _is_ok)
        ),
    ]
    reasons: Annotated[list[str], figure("Why the server is degraded")] = []
    warnings: Annotated[list[str], figure("What should be looked at, though it does not lose entries yet")] = []


class ChunkStats(msgspec.Struct, frozen=True):
    """Messages in chunks, as GELF has them. Each is complete, or rejected as `incomplete` or `gelf`, or waits."""

    received: Annotated[
        int, figure("Datagrams that were chunks of a message, valid or not", counter("fastlog_chunks_received"))
    ]
    repeated: Annotated[
        int,
        figure(
            "Chunks that were ignored, since they had come before or their message was over",
            counter("fastlog_chunks_repeated"),
        ),
    ]
    completed: Annotated[int, figure("Messages that are complete", counter("fastlog_chunked_messages"))]
    waiting: Annotated[
        int, figure("Messages that wait for a chunk, 5 s at most", gauge("fastlog_chunked_messages_waiting"))
    ]
    waiting_bytes: Annotated[int, figure("Bytes of their chunks so far", gauge("fastlog_chunks_waiting_bytes"))]


class Rates(msgspec.Struct, frozen=True):
    peak: Annotated[float, figure("The highest rate so far, in valid entries a second")]
    average: Annotated[float, figure("The rate since the server's start, in valid entries a second")]
    history: Annotated[
        list[int], figure("The valid entries of each of the last seconds, 300 of them at most, the newest last")
    ]


class LossAges(msgspec.Struct, frozen=True):
    """A count that falls and rises again, as gaps do when entries come late, has grown only beyond its maximum."""

    kernel_drops: Annotated[
        float | None, figure("Seconds since the kernel's drops last grew; `null`: not since the start")
    ]
    filtered: Annotated[float | None, figure("Seconds since the filter last kept out a datagram")]
    sequence_gaps: Annotated[float | None, figure("Seconds since the gaps last grew beyond their maximum")]
    network: Annotated[float | None, figure("Seconds since the network's losses last grew beyond their maximum")]
    disk: Annotated[float | None, figure("Seconds since the disk's losses last grew")]
    unshipped: Annotated[float | None, figure("Seconds since an archive was last deleted before it was shipped")]
    rejected: Annotated[float | None, figure("Seconds since input was last rejected")]


class FirstLossAges(msgspec.Struct, frozen=True):
    """When a loss began, which `LossAges` says when it last grew; `null`: not since the start."""

    kernel_drops: Annotated[float | None, figure("Seconds since the kernel's drops first grew")]
    filtered: Annotated[float | None, figure("Seconds since the filter first kept out a datagram")]
    sequence_gaps: Annotated[float | None, figure("Seconds since the first gap")]
    network: Annotated[float | None, figure("Seconds since the network's first loss")]
    disk: Annotated[float | None, figure("Seconds since the disk's first loss")]
    unshipped: Annotated[float | None, figure("Seconds since an archive was first deleted before it was shipped")]
    rejected: Annotated[float | None, figure("Seconds since input was first rejected")]


class Losses(msgspec.Struct, frozen=True):
    """What did not reach the file, by cause: the kernel, the network, the disk; and what reached it, and did not reach
    the engine that it is shipped to. `sequence_gaps` is not a cause."""

    kernel_drops: Annotated[
        int | None,
        figure(
            "Datagrams that the kernel dropped because the receive buffer was full, since the socket was made, and "
            "those with a wrong UDP checksum, whoever sent them; coalesced ones (UDP_GRO) count as one; `null` before "
            "Linux 4.12",
            counter("fastlog_kernel_dropped_datagrams"),
        ),
    ]
    filtered: Annotated[
        int | None,
        figure(
            "Datagrams of addresses far over `RATE_LIMIT` that the socket's filter kept out of the receive buffer, "
            "coalesced ones counted as one; `null` before Linux 4.12",
            counter("fastlog_filtered_datagrams"),
        ),
    ]
    sequence_gaps: Annotated[
        int,
        figure(
            "Missing sequences of all senders, kernel drops included; an entry that comes late, at most 1,024 "
            "sequences behind, is taken off again, and so is a jump if its sender continues where it was before",
            gauge("fastlog_sequence_gaps"),
        ),
    ]
    network: Annotated[
        int | None,
        figure(
            "An estimate of the entries that never reached this machine: the gaps less the kernel's drops since the "
            "server's start, what was filtered, and what was rejected as `rate`, at least 0; `null` where those drops "
            "are unknown",
            gauge("fastlog_network_lost_entries"),
        ),
    ]
    disk: Annotated[
        int,
        figure("Entries that the disk refused and that did not fit in memory", counter("fastlog_disk_lost")),
    ]
    unshipped: Annotated[
        int,
        figure(
            "Lines of archives that were deleted before `fastlog ship` had shipped them, since more than "
            "`SHIP_HOLD_MB` waited",
            counter("fastlog_unshipped_lost_lines"),
        ),
    ]
    seconds_since: LossAges
    first_seconds_since: FirstLossAges


class Latency(msgspec.Struct, frozen=True):
    """From an entry's receipt to its ACK, over the newest ACKs; None: there is none yet."""

    p50: Annotated[
        float | None,
        figure(
            "Milliseconds from an entry's receipt to its ACK, over the newest ACKs: the median; `null`: none yet",
        ),
    ]
    p99: Annotated[float | None, figure("The 99th percentile of these, in milliseconds")]
    max: Annotated[float | None, figure("The longest of these, in milliseconds")]


class AckStats(msgspec.Struct, frozen=True):
    sent: Annotated[int, figure("ACKs handed to the network", counter("fastlog_acks_sent"))]
    pending: Annotated[int, figure("ACKs owed for entries that are not durable yet", gauge("fastlog_acks_pending"))]
    dropped: Annotated[
        int,
        figure(
            "ACKs not sent because the send buffer was full or the disk failed; the senders retransmit",
            counter("fastlog_acks_dropped"),
        ),
    ]
    latency_ms: Latency
    latency_counts: Annotated[
        dict[str, int],
        figure(
            "All ACKs so far, by their latency: the count of those that took at most so many seconds",
            Metric("histogram", ACK_LATENCY, "le"),
        ),
    ]
    latency_sum_seconds: Annotated[
        float, figure("The sum of their latencies, in seconds", Metric("histogram", ACK_LATENCY))
    ]


class Disk(msgspec.Struct, frozen=True):
    failure: Annotated[str | None, figure("The system's error while the disk refuses entries; `null`: it works")]
    log_file: Annotated[str, figure("Path of the live file")]
    log_bytes: Annotated[int, figure("Size of the live file", gauge("fastlog_log_size_bytes"))]
    log_limit_bytes: Annotated[int, figure("Size at which the live file is rotated")]
    rotations: Annotated[int, figure("Rotations of the live file", counter("fastlog_rotations"))]
    free_bytes: Annotated[
        int | None, figure("Free space of the log's file system", gauge("fastlog_log_disk_free_bytes"))
    ]
    total_bytes: Annotated[int | None, figure("Size of the log's file system")]
    torn_bytes: Annotated[int, figure("Bytes of incomplete lines, removed at the start and kept in `*.torn`")]
    rejects_not_noted: Annotated[
        int, figure("Rejected input, `denied` and `rate` aside, that is not in `rejects.jsonl`")
    ]


class SyncState(msgspec.Struct, frozen=True):
    mode: Annotated[str, figure("How priority entries are made durable")]
    count: Annotated[int, figure("Syncs of the log file", counter("fastlog_syncs"))]
    failures: Annotated[int, figure("Syncs that failed", counter("fastlog_sync_failures"))]
    last_ms: Annotated[float | None, figure("Milliseconds that the last sync took; `null`: none yet")]
    under_way_ms: Annotated[
        float | None,
        figure(
            "Milliseconds since the sync under way began; `null`: none is",
            gauge("fastlog_sync_under_way_seconds", _seconds),
        ),
    ]


class ReceiveBuffer(msgspec.Struct, frozen=True):
    """Of several UDP sockets, the one with the smallest buffer; 0 if there is no UDP socket."""

    wanted: Annotated[
        int,
        figure("Bytes of receive buffer (`SO_RCVBUF`) asked for", gauge("fastlog_receive_buffer_wanted_bytes")),
    ]
    granted: Annotated[int, figure("Bytes that the kernel granted", gauge("fastlog_receive_buffer_granted_bytes"))]


class ListenerStats(msgspec.Struct, frozen=True):
    """A socket that the server receives from."""

    address: Annotated[str, figure("The address that the socket is bound to; a unix socket's path")]
    kind: Annotated[Literal["udp", "unix"], figure("Its kind: `udp` or `unix`")]
    datagrams: Annotated[
        int,
        figure("Datagrams received through this socket", counter("fastlog_listener_datagrams", "address")),
    ]
    kernel_drops: Annotated[
        int | None,
        figure(
            "Datagrams that the kernel dropped at this socket, as in `losses.kernel_drops`, filtered ones included",
            counter("fastlog_listener_kernel_dropped_datagrams", "address"),
        ),
    ]
    receive_errors: Annotated[
        int, figure("Errors of this socket", counter("fastlog_listener_receive_errors", "address"))
    ]
    receive_buffer: Annotated[
        int | None, figure("Bytes of receive buffer that the kernel granted this socket; `null`: a unix socket")
    ]
    queue: Annotated[
        int | None,
        figure("Datagrams that the queue of a unix socket holds, before senders have to wait; `null`: it is not known"),
    ]


class ShipStats(msgspec.Struct, frozen=True):
    """How far `fastlog ship` is behind the log, by its note beside the log."""

    lag_bytes: Annotated[int, figure("Bytes of the log that are not shipped yet", gauge("fastlog_ship_lag_bytes"))]
    lag_seconds: Annotated[
        float,
        figure(
            "Seconds since the oldest of them were written, about a second more or less",
            gauge("fastlog_ship_lag_seconds"),
        ),
    ]
    segment: Annotated[int, figure("The log's segment, that is the number of its file, that is shipped at present")]
    problem: Annotated[str, figure("Why nothing is shipped at the moment; empty: nothing hinders it")]


class ArchiveStats(msgspec.Struct, frozen=True):
    """The archives of the live file, those that are held until they are shipped included."""

    files: Annotated[int, figure("Archives of the log", gauge("fastlog_archives"))]
    bytes: Annotated[int, figure("Bytes that they take on the disk", gauge("fastlog_archives_bytes"))]
    deleted_files: Annotated[
        int,
        figure(
            "Archives that were deleted by `LOG_BACKUPS`, `LOG_KEEP_MB`, `LOG_KEEP_DAYS` or `SHIP_HOLD_MB`",
            counter("fastlog_archives_deleted"),
        ),
    ]
    deleted_bytes: Annotated[
        int, figure("Bytes that these took on the disk", counter("fastlog_archives_deleted_bytes"))
    ]
    compressed_files: Annotated[int, figure("Archives that were compressed", counter("fastlog_archives_compressed"))]
    waiting_files: Annotated[
        int,
        figure(
            "Archives that are to be compressed, the one that is being compressed included",
            gauge("fastlog_archives_waiting"),
        ),
    ]
    failing_files: Annotated[
        int,
        figure("Archives that could not be compressed, and are tried again", gauge("fastlog_archives_failing")),
    ]
    failure: Annotated[str | None, figure("Why an archive cannot be compressed; `null`: none failed")]


class AlertStats(msgspec.Struct, frozen=True):
    """The runs of `ALERT_COMMAND`."""

    runs: Annotated[int, figure("Runs of `ALERT_COMMAND`", counter("fastlog_alert_runs"))]
    failures: Annotated[int, figure("Those that failed", counter("fastlog_alert_failures"))]
    last_run: Annotated[
        float | None,
        figure(
            "End of the last run, in seconds of Unix time; `null`: none yet", gauge("fastlog_alert_last_run_seconds")
        ),
    ]
    last_status: Annotated[
        Literal["ok", "degraded"] | None, figure("The status that the last run reported; `null`: none yet")
    ]
    last_failure: Annotated[str | None, figure("Why the last run failed; `null`: it did not")]


class SenderStats(msgspec.Struct, frozen=True):
    address: Annotated[str, figure("The sender's address and port, or its process and user at a unix socket")]
    received: Annotated[int, figure("Valid entries from this sender, duplicates included")]
    lost: Annotated[int, figure("Gaps in this sender's sequences, kernel drops included")]
    seconds_since_last: Annotated[float, figure("Seconds since this sender's last entry")]


class ThrottledHost(msgspec.Struct, frozen=True):
    address: Annotated[
        str,
        figure(
            "The address, without a port; a /64 network: its addresses that share one limit; `others`: all that no "
            "place was left for in the table of limits"
        ),
    ]
    throttled: Annotated[bool, figure("Whether it is over `RATE_LIMIT` now, or was within the last five seconds")]
    rejected: Annotated[int, figure("Its entries and datagrams that were rejected as `rate`")]
    filtered: Annotated[int, figure("An estimate of its datagrams that the socket's filter kept out")]
    seconds_since_last: Annotated[float, figure("Seconds since something of it was rejected as `rate`")]


class Process(msgspec.Struct, frozen=True):
    """The server's process. The metrics have the names that Prometheus' own libraries give them."""

    pid: Annotated[int, figure("Process id of the server")]
    started: Annotated[
        float, figure("Start of the server, in seconds of Unix time", gauge("process_start_time_seconds"))
    ]
    cpu_seconds: Annotated[
        float, figure("Processor time of the server's threads, user and system", counter("process_cpu_seconds"))
    ]
    cpu_percent: Annotated[float, figure("Processor time over the last 3 seconds, in percent of one processor")]
    resident_bytes: Annotated[
        int | None, figure("Resident memory of the server", gauge("process_resident_memory_bytes"))
    ]
    open_fds: Annotated[int | None, figure("Open file descriptors of the server", gauge("process_open_fds"))]
    max_fds: Annotated[int | None, figure("Most that it may have open; `null`: no limit", gauge("process_max_fds"))]
    messages_not_printed: Annotated[
        int,
        figure(
            "Messages of the server that standard error did not take at once",
            counter("fastlog_messages_not_printed"),
        ),
    ]


class Stats(msgspec.Struct, frozen=True):
    """Counts are since the server's start."""

    health: Health
    total_received: Annotated[int, figure("Valid entries received, duplicates included")]
    logs_per_second: Annotated[
        float, figure("Valid entries a second over the last 3 seconds; falls to 0 when nothing comes")
    ]
    elapsed_seconds: Annotated[float, figure("Time since the server's start", gauge("fastlog_up_seconds"))]
    level_distribution: Annotated[
        dict[str, int],
        figure(
            "Valid entries received of each level (DEBUG, INFO, WARNING, ERROR, CRITICAL, OTHER), duplicates included",
            counter("fastlog_received", "level"),
        ),
    ]
    inputs: Annotated[
        dict[str, int],
        figure(
            "Valid entries received in each format (json, syslog, gelf), duplicates included",
            counter("fastlog_received_by_input", "input"),
        ),
    ]
    priority_entries: Annotated[int, figure("Priority entries received, duplicates not counted")]
    recent_errors: Annotated[
        list[msgspec.Raw], figure("The newest `MAX_ERRORS` priority entries, as they were stored, the newest last")
    ]
    stored: Annotated[int, figure("Entries in the log file", counter("fastlog_stored"))]
    duplicates: Annotated[
        int, figure("Priority entries received again and not stored again", counter("fastlog_duplicates"))
    ]
    buffered: Annotated[int, figure("Entries that wait for the next flush", gauge("fastlog_buffered_entries"))]
    rejected: Annotated[
        dict[str, int], figure("Rejected pieces of input, by reason", counter("fastlog_rejected", "reason"))
    ]
    losses: Losses
    acks: AckStats
    datagrams: Annotated[int, figure("Datagrams received, valid or not", counter("fastlog_datagrams"))]
    bytes: Annotated[int, figure("Bytes of the datagrams received", counter("fastlog_received_bytes"))]
    chunks: ChunkStats
    receive_errors: Annotated[
        int, figure("Errors of the socket when the server asked it for datagrams", counter("fastlog_receive_errors"))
    ]
    rates: Rates
    disk: Disk
    sync: SyncState
    archives: ArchiveStats
    ship: Annotated[
        ShipStats | None, figure("Where the log is shipped to an engine; `null`: `fastlog ship` has left no note")
    ]
    alerts: Annotated[AlertStats | None, figure("The runs of `ALERT_COMMAND`; `null`: it is not set")]
    receive_buffer: ReceiveBuffer
    listeners: Annotated[list[ListenerStats], figure("Every socket that the server receives from")]
    senders: Annotated[
        int, figure("Senders known now; one that is idle for an hour is forgotten", gauge("fastlog_senders"))
    ]
    senders_pushed_out: Annotated[
        int,
        figure(
            "Senders that lost their places to others; when they come again, what was lost meanwhile is unknown",
            counter("fastlog_senders_pushed_out"),
        ),
    ]
    sender_restarts: Annotated[int, figure("How often the sequences of a sender began again")]
    stray_sequences: Annotated[
        int,
        figure(
            "Entries too far from the other sequences of their sender to say what was lost between: very late ones, "
            "forged ones, fewer than eight in a row after a long gap, or a second program on one socket",
            counter("fastlog_stray_sequences"),
        ),
    ]
    top_senders: Annotated[list[SenderStats], figure("The ten senders of most entries, and the ten with most gaps")]
    throttled: Annotated[
        list[ThrottledHost], figure("The ten addresses over `RATE_LIMIT` of which most was rejected or filtered")
    ]
    process: Process
    settings: Annotated[dict[str, str], figure("Every setting in force; a token is hidden")]
    version: Annotated[str, figure("Version of the server")]


def figures(struct: type = Stats, prefix: str = "") -> Iterator[Figure]:
    """Every figure of a struct and of the structs in it, in the order of their declaration."""
    for name, hint in get_type_hints(struct, include_extras=True).items():
        inner = hint
        if get_origin(hint) is Annotated:
            inner, meta = get_args(hint)
            yield Figure(prefix + name, meta.description, meta.extra["metric"])
        for part in (inner, *get_args(inner)):
            if isinstance(part, type) and get_origin(part) is None and issubclass(part, msgspec.Struct):
                yield from figures(part, f"{prefix}{name}.")


if __name__ == "__main__":
    print(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Stats))).decode())
