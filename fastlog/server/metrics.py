"""The snapshot as Prometheus text, for `/metrics`. Labels come from closed sets: a sender's address is none."""

from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fastlog.stats import Stats

__all__ = ["CONTENT_TYPE", "exposition"]


def exposition(stats: Stats) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(stats))
    return bytes(generate_latest(registry))


class _Collector(Collector):
    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        stats = self._stats
        yield InfoMetricFamily("fastlog", "The server.", value={"version": stats.version})
        yield from _counters(
            ("fastlog_datagrams", "Datagrams received.", stats.datagrams),
            ("fastlog_received_bytes", "Bytes of the datagrams received.", stats.bytes),
            ("fastlog_stored", "Entries in the log file.", stats.stored),
            ("fastlog_duplicates", "Priority entries received again and not stored again.", stats.duplicates),
            ("fastlog_kernel_dropped_datagrams", "Datagrams dropped by the kernel.", stats.losses.kernel_drops),
            ("fastlog_disk_lost", "Entries that the disk refused.", stats.losses.disk),
            ("fastlog_acks_sent", "Acknowledgements sent.", stats.acks.sent),
            ("fastlog_acks_dropped", "Acknowledgements given up; their senders ask again.", stats.acks.dropped),
            ("fastlog_rotations", "Rotations of the log file.", stats.disk.rotations),
            ("fastlog_syncs", "Syncs of the log file.", stats.sync.count),
            ("fastlog_sync_failures", "Syncs that failed.", stats.sync.failures),
            ("process_cpu_seconds", "CPU time of the server, user and system.", stats.process.cpu_seconds),
        )
        yield _labelled("fastlog_received", "Valid entries, duplicates included.", "level", stats.level_distribution)
        yield _labelled("fastlog_rejected", "Rejected pieces of input.", "reason", stats.rejected)
        yield from _gauges(
            ("fastlog_up_seconds", "Time since the start.", stats.elapsed_seconds),
            ("fastlog_healthy", "1: /health says ok.", 1 if stats.health.status == "ok" else 0),
            ("fastlog_sequence_gaps", "Missing sequences, kernel drops included.", stats.losses.sequence_gaps),
            ("fastlog_network_lost_entries", "Gaps that kernel drops do not explain.", stats.losses.network),
            ("fastlog_senders", "Senders known now.", stats.senders),
            ("fastlog_buffered_entries", "Entries received and not written yet.", stats.buffered),
            ("fastlog_acks_pending", "Acknowledgements owed.", stats.acks.pending),
            ("fastlog_log_size_bytes", "Size of the live log file.", stats.disk.log_bytes),
            ("fastlog_log_disk_free_bytes", "Free space of the log's file system.", stats.disk.free_bytes),
            ("fastlog_receive_buffer_wanted_bytes", "SO_RCVBUF asked for.", stats.receive_buffer.wanted),
            ("fastlog_receive_buffer_granted_bytes", "SO_RCVBUF granted.", stats.receive_buffer.granted),
            ("process_resident_memory_bytes", "Resident memory of the server.", stats.process.resident_bytes),
        )
        latency = GaugeMetricFamily(
            "fastlog_ack_latency_seconds", "From receipt to ACK, over the newest ACKs.", labels=["quantile"]
        )
        for quantile, value in (("0.5", stats.acks.latency_ms.p50), ("0.99", stats.acks.latency_ms.p99)):
            if value is not None:
                latency.add_metric([quantile], value / 1000)
        yield latency


def _counters(*figures: tuple[str, str, float | None]) -> Iterator[Metric]:
    """A figure that is unknown is left out, as Prometheus wants it."""
    for name, text, value in figures:
        if value is not None:
            yield CounterMetricFamily(name, text, value=value)


def _gauges(*figures: tuple[str, str, float | None]) -> Iterator[Metric]:
    for name, text, value in figures:
        if value is not None:
            yield GaugeMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, figures: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in figures.items():
        family.add_metric([value], count)
    return family
