"""Puts the snapshot together from the counters of the parts. The loop does this between two turns, so they agree."""

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fastlog import __version__
from fastlog.answers import SenderAnswer
from fastlog.config import Settings, in_force, printable
from fastlog.errors import messages
from fastlog.inputs._chunks import Chunks
from fastlog.limits import SYNC_ALARM_SEC
from fastlog.server.budget import Budget
from fastlog.server.commit import Commit
from fastlog.server.compression import Compression
from fastlog.server.history import LOSSES, Counters, History
from fastlog.server.listeners import Listeners
from fastlog.server.logfile import LogFile
from fastlog.server.meters import LossMeter, RateMeter, RecentRate
from fastlog.server.pipeline import Pipeline
from fastlog.server.room import Room, Space
from fastlog.server.sender_gaps import LOOK_SEC, WORST, SenderGaps, SenderKey
from fastlog.server.ship_lag import ShipLag
from fastlog.stats import (
    AckStats,
    ArchiveStats,
    ChunkStats,
    Disk,
    FirstLossAges,
    Health,
    ListenerStats,
    LossAges,
    Losses,
    Process,
    ReceiveBuffer,
    SenderStats,
    Stats,
    SyncState,
)

if TYPE_CHECKING:
    from fastlog.server.alerts import Alerts

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SENDER_IDLE_MS = 3_600_000  # then only the totals remember a sender: an hour, since there is room for many senders
# How long a kernel drop degrades health. The kernel counts wrong UDP checksums as well, and does not say which it was;
# a full receive buffer is by far the most frequent cause.
DROPS_ALARM_SEC = 60.0
UNSHIPPED_ALARM_SEC = 600.0  # how long lines that were deleted unshipped degrade health: until somebody has seen it
SENDERS_SHOWN = 10  # senders of most entries, and as many with most gaps


class LossCounts(NamedTuple):
    """What is lost so far; LossAges has a field for each."""

    kernel_drops: int | None
    filtered: int | None
    sequence_gaps: int
    network: int | None
    disk: int
    unshipped: int
    rejected: int


class Reporter:
    """Moments are in seconds of time.monotonic."""

    def __init__(
        self,
        settings: Settings,
        listeners: Listeners,
        pipeline: Pipeline,
        sync_mode: str,
        now: float,
        alerts: "Alerts | None" = None,
    ) -> None:
        self._in_force = in_force(settings)
        self._listeners = listeners
        self._intake = pipeline.intake
        self._writer = pipeline.writer
        self._log = pipeline.log
        self._ship_lag = ShipLag(pipeline.log)
        self._rejects = pipeline.rejects
        self._compression = pipeline.compression
        self._drops = pipeline.drops
        self._throttle = pipeline.throttle
        self.sync_mode = sync_mode
        self._alerts = alerts
        self._space = Space(pipeline.log.path.parent)
        self._room = Room(pipeline.log, self._space, is_compressed=settings.log_compress != "none")
        self._started = now
        self._started_unix = round(time.time(), 3)
        self._rate = RateMeter(now)
        self._cpu = RecentRate(now, time.process_time())
        self._sender_gaps = SenderGaps()
        self._sender_gaps_due = now
        self._dropped_before = listeners.dropped_before or 0
        self._losses = {name: LossMeter() for name in LossAges.__struct_fields__}
        self._losses["kernel_drops"] = LossMeter(self._dropped_before)

    def tick(self, now: float) -> LossCounts:
        """Reads the counters that rates are computed from. To be called at regular times, and before a snapshot."""
        self._rate.tick(now, self._intake.total_received)
        self._cpu.tick(now, time.process_time())
        self._intake.ledger.retire(int(now * 1000), SENDER_IDLE_MS)
        self._ship_lag.tick(now)
        self._room.tick(now)
        if now >= self._sender_gaps_due:
            self._sender_gaps_due = now + LOOK_SEC
            self._sender_gaps.look(time.time(), self._intake.ledger.worst(WORST, int(now * 1000)))
        losses = self._count_losses()
        for name, count in losses._asdict().items():
            self._losses[name].tick(now, count)
        return losses

    def record(self, now: float, history: History) -> None:
        """Adds what was counted up to the last `tick` to the history. To be called once a second."""
        counters = Counters(
            cpu_sec=time.process_time(),
            sender_restarts=self._intake.ledger.totals()["restarts"],
            levels=self._intake.received.values(),
            losses=[self._losses[name].grown for name in LOSSES],
            acks=self._writer.commit.latency.counts,
        )
        history.add(time.time(), now, counters, _resident_bytes())

    def sender(self, key: SenderKey, now: float) -> SenderAnswer | None:
        """What is known of one sender; None: nothing."""
        found = self._intake.ledger.sender(*key, int(now * 1000))
        if found is None:
            return None
        address, received, lost, repeated, restarts, first_sec, last_sec = found
        return SenderAnswer(
            address=address,
            received=received,
            lost=lost,
            repeated=repeated,
            restarts=restarts,
            first_heard=round(time.time() - first_sec, 3),
            last_heard=round(time.time() - last_sec, 3),
            gaps=self._sender_gaps.of(address),
        )

    @property
    def rate(self) -> float:
        """Entries a second over the last few seconds."""
        return self._rate.now

    def snapshot(self, now: float) -> Stats:
        losses = self.tick(now)
        intake, writer, ledger = self._intake, self._writer, self._intake.ledger.totals()
        return Stats(
            health=self.health(now),
            total_received=intake.total_received,
            logs_per_second=self._rate.now,
            elapsed_seconds=round(now - self._started, 3),
            level_distribution=intake.received,
            inputs=intake.received_by_input,
            priority_entries=writer.recent.taken,
            recent_errors=[msgspec.Raw(line) for line in writer.recent.lines()],
            stored=writer.stored,
            duplicates=intake.duplicates,
            buffered=writer.buffered,
            rejected=intake.rejects.counts,
            losses=Losses(
                kernel_drops=losses.kernel_drops,
                filtered=losses.filtered,
                sequence_gaps=losses.sequence_gaps,
                network=losses.network,
                disk=losses.disk,
                unshipped=losses.unshipped,
                seconds_since=LossAges(**{name: meter.seconds_since(now) for name, meter in self._losses.items()}),
                first_seconds_since=FirstLossAges(
                    **{name: meter.first_seconds_since(now) for name, meter in self._losses.items()}
                ),
            ),
            acks=_acks(writer.commit),
            datagrams=intake.datagrams,
            bytes=intake.datagram_bytes,
            chunks=_chunks(intake.messages.chunks),
            receive_errors=self._listeners.errors,
            rates=self._rate.rates(),
            disk=_disk(self._log, self._space, writer.failure, self._rejects.not_noted),
            sync=_sync(writer.commit, self.sync_mode, now),
            archives=_archives(self._log.budget, self._compression),
            ship=self._ship_lag.stats(now),
            alerts=self._alerts.stats if self._alerts else None,
            receive_buffer=ReceiveBuffer(wanted=self._listeners.wanted, granted=self._listeners.granted),
            listeners=self._listener_stats(),
            senders=ledger["senders"],
            senders_pushed_out=ledger["pushed_out"],
            sender_restarts=ledger["restarts"],
            stray_sequences=ledger["late"],
            top_senders=self._top_senders(now),
            throttled=self._throttle.top(now),
            process=_process(self._started_unix, self._cpu.now),
            settings=self._in_force,
            version=__version__,
        )

    def health(self, now: float) -> Health:
        """The health, by the counters of the last `tick`. It is cheap, since the loop calls it every second."""
        reasons, warnings = [], []
        if self._writer.failure:
            reasons.append(f"the disk refuses entries: {self._writer.failure}")
        if self._log.name_failure:
            reasons.append(f"the log file was renamed or removed, and cannot be opened again: {self._log.name_failure}")
        if self._log.rotation_failure:
            reasons.append(f"the log file cannot be rotated: {self._log.rotation_failure}")
        under_way_sec = _under_way_sec(self._writer.commit, now)
        if under_way_sec is not None and under_way_sec >= SYNC_ALARM_SEC:
            reasons.append(f"the disk does not answer: a sync has been under way for {int(under_way_sec)} s")
        since_drop = self._losses["kernel_drops"].seconds_since(now)
        if since_drop is not None and since_drop < DROPS_ALARM_SEC:
            reasons.append("the kernel dropped datagrams within the last minute: the receive buffer was full")
        reasons += self._shipping_reasons(now)
        if self._log.hold and self._log.hold.problem:
            warnings.append(f"the log is not shipped: {self._log.hold.problem}")
        if self._log.hold and self._log.hold.is_shipped and self._log.identities.failure:
            warnings.append(f"the log cannot be shipped: it gets no identity: {self._log.identities.failure}")
        warnings += self._room.warnings
        if self._log.budget.doubt:
            warnings.append(self._log.budget.doubt)
        if self._compression and self._compression.failure:
            warnings.append(f"archives are not compressed: {self._compression.failure}")
        if self._rejects.failure:
            warnings.append(f"rejected input is counted, but cannot be written down: {self._rejects.failure}")
        if self._alerts and (warning := self._alerts.warning):
            warnings.append(warning)
        if self._listeners.is_small:
            warnings.append(
                f"receive buffer is {self._listeners.granted} bytes, not the {self._listeners.wanted} asked for; "
                f"to raise the limit: {self._listeners.how_to_grant}"
            )
        return Health("degraded" if reasons else "ok", reasons, warnings)

    def _shipping_reasons(self, now: float) -> list[str]:
        hold = self._log.hold
        alarm = hold.alarm if hold else None
        reasons = [alarm] if alarm else []
        since_lost = self._losses["unshipped"].seconds_since(now)
        if hold and since_lost is not None and since_lost < UNSHIPPED_ALARM_SEC:
            reasons.append(f"{hold.unshipped_lines} lines were deleted before they were shipped: SHIP_HOLD_MB was full")
        return reasons

    def status_line(self, now: float, warnings: list[str]) -> str:
        """One line for `systemctl status`: the rate, the losses, and the reasons and warnings of `health`. `warnings`
        are added to these."""
        drops, health = self.tick(now).kernel_drops, self.health(now)
        figures = (
            f"{health.status}: {self.rate:.0f} entries/s, {self._intake.total_received} received; lost: "
            f"{'unknown' if drops is None else drops} in the kernel, {self._writer.lost} to the disk"
        )
        notes = [f"warning: {warning}" for warning in (*health.warnings, *warnings)]
        return "; ".join([figures, *health.reasons, *notes])

    def _listener_stats(self) -> list[ListenerStats]:
        return [
            ListenerStats(
                address=printable(listener.address),
                kind=listener.kind,
                datagrams=datagrams,
                kernel_drops=listener.drops(),
                receive_errors=listener.errors,
                receive_buffer=listener.granted,
                queue=listener.queue,
            )
            for listener, datagrams in zip(self._listeners.each, self._intake.datagrams_by_socket, strict=True)
        ]

    def _count_losses(self) -> LossCounts:
        ledger, rejected = self._intake.ledger.totals(), self._intake.rejects.counts
        drops, filtered = self._drops.count()
        gaps = ledger["lost"] + ledger["missing"]
        return LossCounts(
            kernel_drops=drops,
            filtered=filtered,
            sequence_gaps=gaps,
            # Drops from before the start are in no gap of this server's ledger.
            network=None
            if drops is None
            else max(0, gaps - (drops - self._dropped_before) - (filtered or 0) - rejected["rate"]),
            disk=self._writer.lost,
            unshipped=self._log.hold.unshipped_lines if self._log.hold else 0,
            rejected=sum(rejected.values()),
        )

    def _top_senders(self, now: float) -> list[SenderStats]:
        """The senders of most entries and those with most gaps; the first of them sent most."""
        ledger, now_ms = self._intake.ledger, int(now * 1000)
        ranked = (*ledger.top(SENDERS_SHOWN, now_ms), *ledger.worst(SENDERS_SHOWN, now_ms))
        chosen = {sender[0]: sender for sender in ranked}
        return [SenderStats(*sender) for sender in sorted(chosen.values(), key=lambda sender: -sender[1])]


def _chunks(chunks: Chunks) -> ChunkStats:
    return ChunkStats(
        received=chunks.received,
        repeated=chunks.repeated,
        completed=chunks.completed,
        waiting=chunks.waiting,
        waiting_bytes=chunks.waiting_bytes,
    )


def _acks(commit: Commit) -> AckStats:
    return AckStats(
        sent=commit.acks_sent,
        pending=commit.acks_pending,
        dropped=commit.acks_dropped,
        latency_ms=commit.latency.summary(),
        latency_counts=commit.latency.cumulative(),
        latency_sum_seconds=round(commit.latency.sum_sec, 6),
    )


def _sync(commit: Commit, mode: str, now: float) -> SyncState:
    under_way_sec = _under_way_sec(commit, now)
    return SyncState(
        mode=mode,
        count=commit.syncs,
        failures=commit.sync_failures,
        last_ms=None if commit.sync_sec is None else round(commit.sync_sec * 1000, 3),
        under_way_ms=None if under_way_sec is None else round(under_way_sec * 1000, 3),
    )


def _under_way_sec(commit: Commit, now: float) -> float | None:
    """How long the sync under way has taken so far; None: there is none."""
    return None if commit.under_way is None else max(now - commit.under_way.began, 0.0)


def _disk(log: LogFile, space: Space, failure: str | None, rejects_not_noted: int) -> Disk:
    free, total = space.ask()
    return Disk(
        failure=failure,
        log_file=printable(str(log.path)),
        log_bytes=log.size,
        log_limit_bytes=log.limit,
        rotations=log.rotations,
        free_bytes=free,
        total_bytes=total,
        torn_bytes=log.torn,
        rejects_not_noted=rejects_not_noted,
    )


def _archives(budget: Budget, compression: Compression | None) -> ArchiveStats:
    return ArchiveStats(
        files=budget.files,
        bytes=budget.bytes,
        deleted_files=budget.deleted_files,
        deleted_bytes=budget.deleted_bytes,
        compressed_files=compression.compressed_files if compression else 0,
        waiting_files=compression.waiting_files if compression else 0,
        failing_files=compression.failing_files if compression else 0,
        failure=compression.failure if compression else None,
    )


def _process(started: float, cpu: float) -> Process:
    return Process(
        pid=os.getpid(),
        started=started,
        cpu_seconds=time.process_time(),
        cpu_percent=round(100 * cpu, 1),
        resident_bytes=_resident_bytes(),
        open_fds=_open_fds(),
        max_fds=_max_fds(),
        messages_not_printed=messages.not_printed,
    )


def _resident_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def _open_fds() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # the one that lists them is closed again
    except OSError:
        return None


def _max_fds() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
