"""The report of a load test: what was sent, and what became of it by the server's figures.

Each datagram holds one entry, so the kernel's drops, which are datagrams, fit in:

    sent + sent by others = stored + duplicates + buffered + rejected + lost to the disk
                            + dropped by the kernel + lost in the network

The test knows what it sent, so the last one is exact, unlike the estimate in `/stats`: it is what no other figure has.
A figure that nobody knows is None, never 0.
"""

from collections.abc import Collection

import msgspec

from fastlog.stats import Latency
from fastlog.stats_client import Figures

NAME_WIDTH = 46
NUMBER_WIDTH = 14
# Entries a second from which the server's CPU time is reported per entry, too. Below it the time is mostly that of
# wake-ups and of the dashboard, which do not grow with the entries.
CPU_PER_ENTRY_FROM_RATE = 50_000

KERNEL = "dropped by the kernel (receive buffer full)"
NETWORK = "lost in the network"
KERNEL_OR_NETWORK = "dropped by the kernel or lost in the network"
DISK = "lost to the disk"


class Sending(msgspec.Struct, frozen=True):
    """What the clients did."""

    server: str
    clients: int
    rate_asked: float  # entries a second of all clients together; 0: as fast as possible
    rate: float  # reached
    seconds: float  # from the first entry to the last one; retransmissions may come later
    entries: int
    retransmissions: int  # sent because a priority entry was not acknowledged in time
    bytes: int
    priority_entries: int  # each of them should be acknowledged
    acknowledged: int
    not_acknowledged: int
    ack_latency_ms: Latency  # from the first sending of an entry to its ACK
    refused: bool  # the network said that nothing listens there
    interrupted: bool  # Ctrl-C came before everything was sent

    @property
    def sent(self) -> int:
        """Datagrams."""
        return self.entries + self.retransmissions


class Outcome(msgspec.Struct, frozen=True):
    """What became of it, by the server's figures."""

    stored: int
    duplicates: int  # retransmissions of what was stored already
    buffered: int  # entries that the server's next flush will store
    rejected: dict[str, int]  # the number for each reason
    lost_to_disk: int  # entries that the disk refused
    missing: int  # datagrams in none of the figures above
    kernel_drops: int | None  # how many of them the kernel dropped; None: unknown
    lost_in_network: int | None  # the others; None while the kernel's drops are unknown
    other_senders: int | None  # entries that others sent in that time; None: unknown
    sequence_gaps: int  # in the server's ledger, which cannot see losses before the first and after the last entry
    cpu_seconds: float  # that the server used from one snapshot to the other
    cpu_share: float  # that time as a share of one core
    cpu_ns_per_entry: float | None  # None: too few entries in that time for a figure that means something


class Report(msgspec.Struct, frozen=True):
    """All of it, as `--json` prints it."""

    sending: Sending
    outcome: Outcome | None  # None: the server's figures are unknown
    accounted_for: bool  # every datagram is in one of the figures
    lost: int | None  # entries that are neither in the server's file nor in its buffer; None: unknown
    notes: list[str]

    @property
    def lossless(self) -> bool:
        """Every entry is known to be stored, and every priority entry was acknowledged."""
        return self.accounted_for and self.lost == 0 and self.sending.not_acknowledged == 0


def reconcile(sending: Sending, addresses: Collection[str], before: Figures, after: Figures) -> Outcome:
    """The outcome by the server's figures before and after. `addresses`: the clients', as the server writes them."""
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
    others = _from_others(received, addresses, before, after)
    missing = sending.sent + (others or 0) - stored - duplicates - buffered - disk - sum(rejected.values())
    drops = _kernel_drops(before, after, missing)
    cpu = after.process.cpu_seconds - before.process.cpu_seconds
    seconds = after.elapsed_seconds - before.elapsed_seconds
    return Outcome(
        stored=stored,
        duplicates=duplicates,
        buffered=buffered,
        rejected=rejected,
        lost_to_disk=disk,
        missing=missing,
        kernel_drops=drops,
        lost_in_network=None if drops is None else missing - drops,
        other_senders=others,
        sequence_gaps=after.losses.sequence_gaps - before.losses.sequence_gaps,
        cpu_seconds=round(cpu, 6),
        cpu_share=round(cpu / seconds, 6) if seconds > 0 else 0.0,
        cpu_ns_per_entry=round(cpu / received * 1e9, 1) if received > CPU_PER_ENTRY_FROM_RATE * seconds else None,
    )


def restarted(before: Figures, after: Figures) -> bool:
    return after.process.pid != before.process.pid or after.elapsed_seconds < before.elapsed_seconds


def conclude(sending: Sending, outcome: Outcome | None, notes: list[str]) -> Report:
    """The report, with its verdict. `notes`: what is known already of why a figure is unknown."""
    notes = list(notes)
    if sending.refused:
        notes.append(f"nothing listened on {sending.server} for a time; is `fastlog serve` running there?")
    if outcome is None:
        return Report(sending, None, accounted_for=False, lost=None, notes=notes)
    others, network = outcome.other_senders, outcome.lost_in_network
    if others:
        notes.append(
            f"{others:,} entries came from other senders meanwhile; some of what was rejected or dropped may be "
            "theirs. Run the test again when they are quiet"
        )
    if outcome.kernel_drops is None:
        notes.append("the server's kernel does not report its drops, so they cannot be told from losses in the network")
    if network is not None and network < 0:
        notes.append(f"the server's figures have {-network:,} more datagrams than were sent: other senders sent, too")
    if others is None and network:  # if every datagram is found again, nobody else sent
        notes.append("other senders may have sent meanwhile: the server does not list all the clients")
    lost = sending.entries - outcome.stored - outcome.buffered
    return Report(
        sending,
        outcome,
        accounted_for=network is not None and network >= 0 and not others,
        lost=None if others or lost < 0 else lost,
        notes=notes,
    )


def as_text(report: Report) -> str:
    """The report for people."""
    return "\n".join(
        [
            *_sending_lines(report.sending, report.outcome),
            *(f"  {_row(name, value, NAME_WIDTH - 2)}" for name, value in _rows(report.outcome)),
            "",
            *_ack_lines(report.sending),
            *_cpu_lines(report.outcome, report.sending),
            *(f"note: {note}" for note in report.notes),
            _verdict(report),
        ]
    )


def _sending_lines(sending: Sending, outcome: Outcome | None) -> list[str]:
    asked = f" of {sending.rate_asked:,.0f}/s asked" if sending.rate < 0.99 * sending.rate_asked else ""
    again = f" and {_count(sending.retransmissions, 'retransmission')}" if sending.retransmissions else ""
    began = "interrupted; sent" if sending.interrupted else "sent"
    how = f"by {_count(sending.clients, 'client')}, {sending.rate:,.0f}/s{asked}, in {sending.seconds:,.2f} s"
    lines = [
        f"{began} to {sending.server}: {_count(sending.entries, 'entry', 'entries')}{again}, {how}",
        "",
        _row("sent", sending.sent),
    ]
    if outcome and outcome.other_senders:
        lines.append(_row("sent by others meanwhile", outcome.other_senders))
        lines.append(_row("together", sending.sent + outcome.other_senders))
    return lines


def _rows(outcome: Outcome | None) -> list[tuple[str, int | None]]:
    """One row for each cause."""
    if outcome is None:
        return [(name, None) for name in ("stored", "duplicates", "rejected", DISK, KERNEL, NETWORK)]
    rejected = ", ".join(outcome.rejected)
    rows: list[tuple[str, int | None]] = [
        ("stored", outcome.stored),
        ("in the server's buffer", outcome.buffered),
        ("duplicates", outcome.duplicates),
        ("rejected" + (f": {rejected}" if rejected else ""), sum(outcome.rejected.values())),
        (DISK, outcome.lost_to_disk),
    ]
    if not outcome.buffered:
        del rows[1]
    if outcome.kernel_drops is None:
        return [*rows, (KERNEL_OR_NETWORK, outcome.missing)]
    return [*rows, (KERNEL, outcome.kernel_drops), (NETWORK, outcome.lost_in_network)]


def _row(name: str, number: int | None, width: int = NAME_WIDTH) -> str:
    return f"{name:<{width}}{'unknown' if number is None else f'{number:,}':>{NUMBER_WIDTH}}"


def _ack_lines(sending: Sending) -> list[str]:
    if not sending.priority_entries:
        return []
    latency = sending.ack_latency_ms
    return [
        f"acknowledged: {sending.acknowledged:,} of "
        + _count(sending.priority_entries, "priority entry", "priority entries")
        + (f", after p50 {latency.p50} ms, p99 {latency.p99} ms, max {latency.max} ms" if latency.p50 else "")
    ]


def _cpu_lines(outcome: Outcome | None, sending: Sending) -> list[str]:
    """The server's CPU time, and why the cost of an entry is not shown, or is higher than where it is quoted."""
    if outcome is None:
        return []
    used = f"server's CPU: {outcome.cpu_seconds:,.2f} s, {100 * outcome.cpu_share:.1f} % of one core"
    if outcome.cpu_ns_per_entry is None:
        return [
            used,
            f"  it is not divided by the entries: under {CPU_PER_ENTRY_FROM_RATE:,} of them a second, most of it",
            "  is waking up and the dashboard, which cost the same for one entry as for many",
        ]
    lines = [f"{used}, {outcome.cpu_ns_per_entry:,.0f} ns an entry"]
    if sending.priority_entries:
        lines.append("  the syncs and ACKs of priority entries are in it: --error-share 0 sends none")
    return lines


def _verdict(report: Report) -> str:
    if report.outcome is None:
        return "what became of the entries is unknown"
    waiting = report.sending.not_acknowledged
    unsure = f", {_count(waiting, 'priority entry', 'priority entries')} not acknowledged" if waiting else ""
    if not report.accounted_for:
        return f"the figures do not add up{unsure}"
    if report.lost:
        return f"every entry is accounted for: {_count(report.lost, 'entry', 'entries')} not stored{unsure}"
    return f"every entry is accounted for: nothing was lost{unsure}"


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _kernel_drops(before: Figures, after: Figures, missing: int) -> int | None:
    if after.losses.kernel_drops is not None and before.losses.kernel_drops is not None:
        return after.losses.kernel_drops - before.losses.kernel_drops
    return 0 if missing == 0 else None  # if nothing is missing, nothing was dropped


def _from_others(received: int, addresses: Collection[str], before: Figures, after: Figures) -> int | None:
    """Valid entries of senders other than the clients. The server lists only the senders of most entries."""
    had = {sender.address: sender.received for sender in before.top_senders}
    listed = [sender for sender in after.top_senders if sender.address in addresses]
    others = received - sum(sender.received - had.get(sender.address, 0) for sender in listed)
    # A number below 0 means that a client has got the port of a sender that the server still knows.
    return others if others == 0 or (others > 0 and len(listed) == len(addresses)) else None
