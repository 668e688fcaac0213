"""The reconciled account of a load test: what was sent, and what the server says became of it.

Sent and received are counted in datagrams, and each of them holds one entry, so that the kernel's drops fit in:

    sent + of other senders = stored + duplicates + buffered + rejected + lost to the disk
                              + dropped by the kernel + lost on the way

The last one is what is missing. A figure that nobody knows is None, never 0.
"""

from collections.abc import Collection

import msgspec

from fastlog.stats import Latency
from fastlog.stats_client import Figures


class Sending(msgspec.Struct, frozen=True):
    """What the clients did."""

    server: str
    clients: int
    rate_asked: float  # entries a second of all clients together; 0: as fast as it went
    rate: float  # reached
    seconds: float  # from the first entry to the last; repetitions come later
    entries: int
    repetitions: int  # of priority entries that were not acknowledged in time
    bytes: int
    priority_entries: int  # an ACK is expected of each
    acknowledged: int
    not_acknowledged: int
    ack_latency_ms: Latency  # from the first sending of an entry to its ACK
    refused: bool  # the network said that nothing listens there
    interrupted: bool  # by Ctrl-C, so that not all was sent

    @property
    def sent(self) -> int:
        return self.entries + self.repetitions


class Outcome(msgspec.Struct, frozen=True):
    """What became of it, by the server's figures."""

    stored: int
    duplicates: int
    buffered: int  # stored by the server's next flush
    rejected: dict[str, int]
    disk: int  # entries that the disk refused
    kernel_drops: int | None  # datagrams
    on_the_way: int | None  # datagrams that are in no other figure; None while the kernel's drops are unknown
    other_senders: int | None  # entries that came from others in that time; None: cannot be told
    sequence_gaps: int  # by the server's ledger, which cannot see losses before the first and after the last entry
    cpu_seconds: float  # of the server, from one snapshot to the other
    cpu_ns_per_entry: float | None


class Report(msgspec.Struct, frozen=True):
    """The whole of it, as `--json` prints it."""

    sending: Sending
    outcome: Outcome | None  # None: the server's figures are unknown
    balanced: bool  # every datagram is accounted for
    lost: int | None  # entries that are neither in the server's file nor about to be; None: unknown
    notes: list[str]

    @property
    def lossless(self) -> bool:
        """Every entry is stored, and known to be, and what had to be was acknowledged."""
        return self.balanced and self.lost == 0 and self.sending.not_acknowledged == 0


def reconcile(sending: Sending, addresses: Collection[str], before: Figures, after: Figures) -> Outcome:
    """From the server's figures before and after; `addresses`: of the clients, as the server writes them."""
    taken = after.stored + after.buffered - before.stored - before.buffered
    buffered = min(after.buffered, taken)  # what was in the buffer before is written first
    stored = taken - buffered
    duplicates = after.duplicates - before.duplicates
    disk = after.losses.disk - before.losses.disk
    received = after.total_received - before.total_received
    rejected = {
        reason: count - before.rejected.get(reason, 0)
        for reason, count in after.rejected.items()
        if count != before.rejected.get(reason, 0)
    }
    others = _of_others(received, addresses, before, after)
    missing = sending.sent + (others or 0) - stored - duplicates - buffered - disk - sum(rejected.values())
    drops = None
    if after.losses.kernel_drops is not None and before.losses.kernel_drops is not None:
        drops = after.losses.kernel_drops - before.losses.kernel_drops
    elif missing == 0:
        drops = 0  # nothing is missing, so nothing was dropped
    cpu = after.process.cpu_seconds - before.process.cpu_seconds
    return Outcome(
        stored=stored,
        duplicates=duplicates,
        buffered=buffered,
        rejected=rejected,
        disk=disk,
        kernel_drops=drops,
        on_the_way=None if drops is None else missing - drops,
        other_senders=others,
        sequence_gaps=after.losses.sequence_gaps - before.losses.sequence_gaps,
        cpu_seconds=round(cpu, 6),
        cpu_ns_per_entry=round(cpu / received * 1e9, 1) if received else None,
    )


def restarted(before: Figures, after: Figures) -> bool:
    return after.process.pid != before.process.pid or after.elapsed_seconds < before.elapsed_seconds


def report(sending: Sending, outcome: Outcome | None, notes: list[str]) -> Report:
    """`notes`: what is known already of why a figure is unknown."""
    notes = list(notes)
    if sending.refused:
        notes.append(f"nothing listened on {sending.server} for a time; is `fastlog serve` running there?")
    if outcome is None:
        return Report(sending, None, balanced=False, lost=None, notes=notes)
    others = outcome.other_senders
    if others:
        notes.append(
            f"{others} entries came from other senders meanwhile. What was rejected or dropped may be theirs: run it "
            "again when they are quiet"
        )
    if outcome.kernel_drops is None:
        notes.append("the server's kernel does not tell its drops: they are among what is missing")
    balanced = outcome.on_the_way is not None and outcome.on_the_way >= 0 and not others
    if outcome.on_the_way is not None and outcome.on_the_way < 0:
        notes.append(f"the server's figures have {-outcome.on_the_way} more than was sent: other senders sent, too")
    if others is None and outcome.on_the_way:  # where all is found again, nobody else sent
        notes.append("whether other senders sent meanwhile cannot be told: the server does not list all the clients")
    lost = sending.entries - outcome.stored - outcome.buffered
    return Report(sending, outcome, balanced=balanced, lost=None if others or lost < 0 else lost, notes=notes)


def as_text(report: Report) -> str:
    """The report for people."""
    sending, outcome = report.sending, report.outcome
    asked = f" of {sending.rate_asked:,.0f}/s asked" if sending.rate < 0.99 * sending.rate_asked else ""
    again = f" and {_count(sending.repetitions, 'repetition')}" if sending.repetitions else ""
    began = "interrupted; sent" if sending.interrupted else "sent"
    how = f"by {_count(sending.clients, 'client')}, {sending.rate:,.0f}/s{asked}, in {sending.seconds:,.2f} s"
    lines = [
        f"{began} to {sending.server}: {_count(sending.entries, 'entry', 'entries')}{again}, {how}",
        "",
        f"{'sent':<24}{sending.sent:>14,}",
        *(f"  {name:<22}{'unknown' if value is None else f'{value:,}':>14}" for name, value in _rows(outcome)),
        "",
    ]
    if sending.priority_entries:
        latency = sending.ack_latency_ms
        lines.append(
            f"acknowledged: {sending.acknowledged:,} of {_count(sending.priority_entries, 'entry', 'entries')}"
            + (f", after p50 {latency.p50} ms, p99 {latency.p99} ms, max {latency.max} ms" if latency.p50 else "")
        )
    if outcome and outcome.cpu_ns_per_entry is not None:
        lines.append(f"the server's CPU: {outcome.cpu_seconds:,.2f} s, {outcome.cpu_ns_per_entry:,.0f} ns an entry")
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join([*lines, _verdict(report)])


def _rows(outcome: Outcome | None) -> list[tuple[str, int | None]]:
    if outcome is None:
        names = ("stored", "duplicates", "rejected", "lost to the disk", "dropped by the kernel", "lost on the way")
        return [(name, None) for name in names]
    rejected = ", ".join(outcome.rejected)
    return [
        *([("of other senders", outcome.other_senders)] if outcome.other_senders else []),
        ("stored", outcome.stored),
        *([("in the server's buffer", outcome.buffered)] if outcome.buffered else []),
        ("duplicates", outcome.duplicates),
        ("rejected" + (f": {rejected}" if rejected else ""), sum(outcome.rejected.values())),
        ("lost to the disk", outcome.disk),
        ("dropped by the kernel", outcome.kernel_drops),
        ("lost on the way", outcome.on_the_way),
    ]


def _verdict(report: Report) -> str:
    if report.outcome is None:
        return "what became of the entries is unknown"
    if not report.balanced:
        return "the account does not balance"
    waiting = report.sending.not_acknowledged
    unsure = f", {_count(waiting, 'entry', 'entries')} not acknowledged" if waiting else ""
    if report.lost:
        return f"the account balances: {_count(report.lost, 'entry', 'entries')} not stored{unsure}"
    return f"the account balances: nothing was lost{unsure}"


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _of_others(received: int, addresses: Collection[str], before: Figures, after: Figures) -> int | None:
    """Valid entries of senders that are none of ours. The server lists those who sent most."""
    had = {sender.address: sender.received for sender in before.top_senders}
    listed = [sender for sender in after.top_senders if sender.address in addresses]
    others = received - sum(sender.received - had.get(sender.address, 0) for sender in listed)
    # fewer than none: a port of ours was another sender's an hour ago
    return others if others == 0 or (others > 0 and len(listed) == len(addresses)) else None
