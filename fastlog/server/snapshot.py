"""Puts the snapshot together from what the parts count. Called by the loop, between two turns: the counts agree."""

import os
import time
from pathlib import Path

import msgspec

from fastlog import __version__
from fastlog.config import Settings, in_force
from fastlog.server.listener import Listener
from fastlog.server.meters import LossMeter, RateMeter
from fastlog.server.pipeline import Pipeline
from fastlog.stats import (
    AckStats,
    Disk,
    Health,
    LossAges,
    Losses,
    Process,
    ReceiveBuffer,
    SenderStats,
    Stats,
    SyncState,
)

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SENDER_IDLE_MS = 3_600_000  # after which a sender is forgotten but for the totals: an hour, for there is room for many
DROPS_ALARM_SEC = 60.0  # after which a kernel drop no longer degrades health


class Reporter:
    """Times are in seconds of time.monotonic."""

    def __init__(self, settings: Settings, listener: Listener, pipeline: Pipeline, sync_mode: str, now: float) -> None:
        self._in_force = in_force(settings)
        self._listener = listener
        self._intake = pipeline.intake
        self._writer = pipeline.writer
        self._log = pipeline.log
        self._sync_mode = sync_mode
        self._started = now
        self._rate = RateMeter(now)
        self._dropped_before = listener.dropped_before or 0
        self._kernel_drops = LossMeter(self._dropped_before)
        self._sequence_gaps = LossMeter()
        self._network = LossMeter()
        self._disk = LossMeter()
        self._rejected = LossMeter()

    def tick(self, now: float) -> None:
        """Takes the counters that rates are made of. To be called at regular times, and before a snapshot."""
        self._rate.tick(now, self._intake.total_received)
        self._intake.ledger.retire(int(now * 1000), SENDER_IDLE_MS)
        losses = self._losses(now)
        self._kernel_drops.tick(now, losses.kernel_drops)
        self._sequence_gaps.tick(now, losses.sequence_gaps)
        self._network.tick(now, losses.network)
        self._disk.tick(now, losses.disk)
        self._rejected.tick(now, sum(self._intake.rejects.values()))

    @property
    def rate(self) -> float:
        """Entries a second over the last few seconds."""
        return self._rate.now

    def snapshot(self, now: float) -> Stats:
        self.tick(now)
        intake, writer, commit, log = self._intake, self._writer, self._writer.commit, self._log
        received = intake.received
        total = intake.total_received
        totals = intake.ledger.totals()
        free, size = self._space()
        return Stats(
            health=self.health(now),
            total_received=total,
            logs_per_second=self._rate.now,
            elapsed_seconds=round(now - self._started, 3),
            level_distribution=received,
            priority_entries=writer.recent.taken,
            recent_errors=[msgspec.Raw(line) for line in writer.recent.lines()],
            stored=writer.stored,
            duplicates=intake.duplicates,
            buffered=writer.buffered,
            rejected=intake.rejects,
            losses=self._losses(now),
            acks=AckStats(
                sent=commit.acks_sent,
                pending=commit.acks_pending,
                dropped=commit.acks_dropped,
                latency_ms=commit.latency.summary(),
            ),
            datagrams=intake.datagrams,
            bytes=intake.datagram_bytes,
            rates=self._rate.rates(),
            disk=Disk(
                failure=writer.failure,
                log_file=os.fsencode(log.path.absolute()).decode("utf-8", "replace"),
                log_bytes=log.size,
                log_limit_bytes=log.limit,
                rotations=log.rotations,
                free_bytes=free,
                total_bytes=size,
                torn_bytes=log.torn,
                rejects_not_noted=intake.rejects_not_noted,
            ),
            sync=SyncState(
                mode=self._sync_mode,
                count=commit.syncs,
                failures=commit.sync_failures,
                last_ms=None if commit.sync_sec is None else round(commit.sync_sec * 1000, 3),
            ),
            receive_buffer=ReceiveBuffer(wanted=self._listener.wanted, granted=self._listener.granted),
            senders=totals["senders"],
            sender_restarts=totals["restarts"],
            top_senders=self._senders(now),
            process=Process(pid=os.getpid(), cpu_seconds=time.process_time(), resident_bytes=_resident_bytes()),
            settings=self._in_force,
            version=__version__,
        )

    def _losses(self, now: float) -> Losses:
        drops = self._listener.drops()
        totals = self._intake.ledger.totals()
        gaps = totals["lost"] + totals["missing"]
        return Losses(
            kernel_drops=drops,
            sequence_gaps=gaps,
            # Drops from before the start are in no gap of this server's ledger.
            network=None if drops is None else max(0, gaps - (drops - self._dropped_before)),
            disk=self._writer.lost,
            seconds_since=LossAges(
                kernel_drops=self._kernel_drops.seconds_since(now),
                sequence_gaps=self._sequence_gaps.seconds_since(now),
                network=self._network.seconds_since(now),
                disk=self._disk.seconds_since(now),
                rejected=self._rejected.seconds_since(now),
            ),
        )

    def _senders(self, now: float) -> list[SenderStats]:
        """Those who sent most, and those of whom most was lost."""
        ledger, now_ms = self._intake.ledger, int(now * 1000)
        chosen = {sender[0]: sender for sender in (*ledger.top(10, now_ms), *ledger.worst(10, now_ms))}
        return [SenderStats(*sender) for sender in sorted(chosen.values(), key=lambda sender: -sender[1])]

    def status_line(self, now: float, warnings: list[str]) -> str:
        """One line for `systemctl status`: the rate, the losses, and the reasons and warnings of `health`."""
        self.tick(now)
        health, losses = self.health(now), self._losses(now)
        drops = "unknown" if losses.kernel_drops is None else losses.kernel_drops
        figures = (
            f"{health.status}: {self.rate:.0f} entries/s, {self._intake.total_received} received; "
            f"lost: {drops} in the kernel, {losses.disk} to the disk"
        )
        notes = [f"warning: {warning}" for warning in (*health.warnings, *warnings)]
        return "; ".join([figures, *health.reasons, *notes])

    def health(self, now: float) -> Health:
        """By the figures of the last `tick`."""
        reasons, warnings = [], []
        if self._writer.failure:
            reasons.append(f"the disk refuses entries: {self._writer.failure}")
        if self._log.rotation_failure:
            reasons.append(f"the log file cannot be rotated: {self._log.rotation_failure}")
        since_drop = self._kernel_drops.seconds_since(now)
        if since_drop is not None and since_drop < DROPS_ALARM_SEC:
            reasons.append("the kernel dropped datagrams within the last minute: the receive buffer was full")
        listener = self._listener
        if listener.granted < listener.wanted:
            warnings.append(
                f"receive buffer: wanted {listener.wanted} bytes, granted {listener.granted}; "
                f"{listener.how_to_grant} would grant it"
            )
        return Health("degraded" if reasons else "ok", reasons, warnings)

    def _space(self) -> tuple[int | None, int | None]:
        try:
            system = os.statvfs(self._log.path.parent)
        except OSError:
            return None, None
        return system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize


def _resident_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return None
