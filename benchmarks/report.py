"""Writes docs/performance.md and its plots from docs/performance.json, which measure.py writes."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import archive_corpus, bench_archives, bench_peers, bench_table, machine, quoted
from benchmarks.measure import CONTESTS, ERRORS_RATE, RESULT, ROOT, SENDERS_RATE, SIZES_RATE
from benchmarks.peers.collectors import MEANING, OF_ENTRIES
from benchmarks.tables import count, markdown, share

PAGE = ROOT / "docs/performance.md"
PLOTS = ROOT / "docs/performance"
BUSY_LOAD = 4.0  # of a machine: the measurements alone make half of it
ORDINARY_BURST = 64  # datagrams a call, unless a load says otherwise
LOADTEST_ERROR_SHARE = 0.01  # the default of `fastlog loadtest --error-share`

Point = dict[str, Any]


def cost(point: Point) -> str:
    return count(point["ns_each"]) if point["ns_each"] else "-"


def stored(point: Point) -> str:
    return share(point["stored"] / point["sent"])


def of(points: Sequence[Point], system: str) -> list[Point]:
    return [point for point in points if point["system"] == system]


def by_system(points: Sequence[Point], key: Callable[[Point], Any], name: str, shown: Callable[[Any], str]) -> str:
    """Has a row for each value of `key`; the columns are the collectors' costs, and the share that fastlog stored."""
    systems = list(dict.fromkeys(point["system"] for point in points))
    rows = []
    for value in dict.fromkeys(map(key, points)):
        at = {point["system"]: point for point in points if key(point) == value}
        costs = [cost(at[system]) if system in at else "" for system in systems]
        rows.append([shown(value), *costs, stored(at["fastlog"])])
    return markdown([name, *systems, "stored by fastlog"], rows)


def lines_of(points: Sequence[Point], key: Callable[[Point], str]) -> dict[str, list[tuple[str, float]]]:
    systems = dict.fromkeys(point["system"] for point in points)
    return {system: [(key(point), point["ns_each"]) for point in of(points, system)] for system in systems}


def rates(result: dict[str, Any]) -> list[Point]:
    """The points of one burst size at all rates, the lowest first, unpaced last."""
    bounds = ("ceiling", "ceiling-waits", "fastlog")
    found = [point for point in (*result["rate"], *result["peers"]) if point["system"] in bounds]
    return sorted(found, key=lambda point: (point["rate"] == 0, point["rate"]))


def rate_name(rate: float) -> str:
    return count(rate) if rate else "unpaced"


def draw(result: dict[str, Any]) -> None:
    from benchmarks.plots import bars, lines  # here, since the page alone can be made without matplotlib

    PLOTS.mkdir(exist_ok=True)
    middle = max(point["rate"] for point in result["peers"])
    shown = {point["system"]: point["ns_each"] or 0.0 for point in result["peers"] if point["rate"] == middle}
    bars(PLOTS / "peers.svg", shown, f"CPU ns for each stored entry, at {rate_name(middle)} entries/s")
    axis = "CPU ns for each stored entry"
    usual = [point for point in rates(result) if point["burst"] == ORDINARY_BURST]
    lines(PLOTS / "rate.svg", lines_of(usual, lambda p: rate_name(p["rate"])), "entries a second", axis)
    lines(PLOTS / "size.svg", lines_of(result["size"], lambda p: count(p["entry_bytes"])), "bytes of an entry", axis)
    lines(PLOTS / "senders.svg", lines_of(result["senders"], lambda p: count(p["senders"])), "senders", axis)
    lines(
        PLOTS / "errors.svg",
        lines_of(result["errors"], lambda p: f"{100 * p['error_share']:g} %"),
        "share of entries of level ERROR",
        axis,
    )


def errors_table(points: Sequence[Point]) -> str:
    """Shows also how much more an ERROR costs than another entry."""
    base = next(point["ns_each"] for point in points if not point["error_share"])
    rows = []
    for point in points:
        part = point["error_share"]
        more = count((point["ns_each"] - base) / part) if part else ""
        rows.append([f"{100 * part:g} %", cost(point), more, stored(point)])
    return markdown(["share of ERROR", "CPU ns/entry", "more for each ERROR", "stored"], rows)


def together_table(points: Sequence[Point]) -> str:
    rows = []
    for point in points:
        each = point["per_datagram"]
        how = f"1, padded to {point['segment_bytes']} bytes, coalesced" if point["segment_bytes"] else str(each)
        pace = rate_name(point["rate"] * each)
        rows.append([how, pace, count(point["sent_rate"] * each), cost(point), stored(point)])
    return markdown(["entries in a datagram", "entries/s", "sent", "CPU ns/entry", "stored"], rows)


def limit(result: dict[str, Any]) -> str:
    """Says where the next limits are, by the measured figures."""
    [mine] = [point for point in of(result["peers"], "fastlog") if point["rate"] == 0]
    [waits] = [point for point in of(result["peers"], "ceiling-waits") if point["rate"] == 0]
    paced = [point for point in result["together"] if point["rate"]]
    packed = max(paced, key=lambda point: point["per_datagram"])
    most = 1e9 / mine["ns_each"]
    kernel = f"{100 * (1 - mine['user_share']):.0f}"
    return f"""\
At the highest speed of one sender, an entry costs fastlog {cost(mine)} ns, so one core takes at most about
{count(most / 1000)},000 of them a second. About {kernel} % of that time is the kernel's: it hands over
datagrams one by one, frees their memory, and copies the lines to the page cache. The rest is fastlog's own: checking,
accounting, copying, and the loop. `ceiling-waits` does the kernel's part and one copy, and nothing else, for
{cost(waits)} ns. That is about the least for any program that takes single datagrams from a socket.

So the next limits are, in this order:

1. **The kernel's cost of a datagram.** It is paid for each datagram, not each entry: {packed["per_datagram"]} entries
   in a datagram cost {cost(packed)} ns each. Senders that can wait a moment should put several into one.
2. **The receive buffer.** A sender with a core of its own can fill it while the server waits for a processor. The
   datagrams lost then are counted as `kernel_drops`.
3. **The disk.** At that rate {count(most * (mine["entry_bytes"] + 1) / 1e6)} MB a second are written. When the page
   cache is full of data that is not on disk yet, the disk's speed is the limit, and the loop waits in `write`.
4. **One core.** The loop is one thread. To use a second core, run a second server on another port.
"""


def quoted_figures(result: dict[str, Any]) -> str:
    """The figures that other documents quote, each in a row to link to, and why an entry costs more elsewhere."""
    known = quoted.figures(result)
    rows = [[f'<a id="{name}"></a>{figure.meaning}', figure.text] for name, figure in known.items()]
    mine = {point["rate"]: point for point in of(rates(result), "fastlog") if point["burst"] == ORDINARY_BURST}
    lowest = min(rate for rate in mine if rate)
    [few] = [point for point in of(result["errors"], "fastlog") if point["error_share"] == LOADTEST_ERROR_SHARE]
    return f"""\
{markdown(["what", "figure"], rows)}
Other documents quote these figures and no others, rounded to {quoted.DIGITS} digits; `make lint` compares them.
An entry has one cost for each load, and the quoted one is that of a busy server whose sender is not its limit. With
other loads it is more, for these reasons:

- **A low rate.** At {count(lowest)} entries/s it is {cost(mine[lowest])} ns, since hardly any two entries share
  a wake-up ([with the rate](#with-the-rate)).
- **A sender that is never idle.** Unpaced it is {cost(mine[0])} ns, since the data comes from the caches of another
  core.
- **Errors.** With {100 * LOADTEST_ERROR_SHARE:g} % of them, each synced and acknowledged, it is {cost(few)} ns
  at {count(ERRORS_RATE)} entries/s ([with the share of ERROR](#with-the-share-of-error)). `fastlog loadtest` sends so
  many unless told otherwise, and from four clients, so its own figure is another one
  ([loadtest.md](loadtest.md#the-report)).
"""


def archives(result: dict[str, Any]) -> str:
    c = archive_corpus
    errors, rate = f"{100 * c.ERROR_SHARE:g} %", count(bench_archives.BESIDE_RATE)
    busy = ", when it was busy with other work as well" if result["load"] > BUSY_LOAD else ""
    return f"""\
A log in archives of 100 MB, and what `fastlog tail` and `count` do with it, beside `zstdcat | grep`, which gets
`LC_ALL=C` and `-F`, `zgrep` on copies of `gzip -6`, and lnav without its display. All read from the page cache. It is
checked that `tail` and `grep` find the same lines. `zgrep` and lnav get a part, and their times are scaled.

The log is made of one minute of {c.LINES:,} lines with random messages, {c.LINE_BYTES} bytes long in the mean, from
five applications and sixteen hosts. Each minute is that one with another time and other sequences. Of the lines
{errors} are ERRORs, and one minute of {c.BURST_MINUTES} has a burst of them. The rare word is in one line of all.
"beside" is a load of {rate} entries a second on a server with `LOG_COMPRESS=zstd`, and on one without, in turn.
Figures are medians.

{bench_archives.table(result["rows"])}
The machine, with a load of {result["load"]} at the end{busy}:

{machine.describe(result["machine"])}
To run it: `make bench-archives`, or a part of it, as

    make bench-archives BENCH="level word --gb 1 --keep DIRECTORY"
"""


def page(result: dict[str, Any]) -> str:
    meanings = "".join(f"- `{name}`: {MEANING[name]}\n" for name in OF_ENTRIES)
    how = result["how"]
    rounds = min(len(point["costs"]) for part in CONTESTS for point in result[part])
    entry_bytes = result["peers"][0]["entry_bytes"]
    single = [point for point in rates(result) if point["burst"] == 1]
    usual = [point for point in rates(result) if point["burst"] == ORDINARY_BURST]
    return f"""\
# Performance

How much CPU time an entry costs, beside other collectors, and how that changes with the load. All figures are measured;
`make performance` measures them again and rewrites this page and its plots.

## The figures

{quoted_figures(result)}
## How it is measured

Every collector runs as its own process, receives on the loopback interface, and appends to a file. A sender in C sends
the same entries to each of them, with `sendmmsg`, {ORDINARY_BURST} datagrams a call unless another number is given, at
an exact pace, or as fast as possible ("unpaced"). The collectors take turns within a round, and the figures are medians
of {rounds} rounds. A paced load takes {how["seconds"]:g} s, an unpaced one is {how["count"]:,} entries.

- **CPU ns/entry** is the CPU time of the collector's process, all its threads, in the kernel and outside, from the
  first datagram until it has nothing left to do, divided by the entries in its file. For no collector does it include
  the sender's time, or the kernel's work on the sender's side of the loopback interface.
- **stored** is the number of lines in the file, after the collector has ended, divided by the entries sent.
- **to ceiling** is the ratio to the cost of a C program that copies datagrams to a file without a look at them.
- **receive buffer** is the size that the kernel granted, as in `SO_RCVBUF`; all ask for 4 MiB. **Kernel drops** are
  the sum of all rounds.
- **memory** is the largest amount of resident memory.

The entries are JSON objects as applications send them, of levels DEBUG, INFO and WARNING, {entry_bytes} bytes on
average, one in a datagram, unless stated otherwise. You can send lines of your own log files instead:
`--corpus FILE`.

The machine:

{machine.describe(result["machine"])}
Both the sender and the collector run on it, so single figures differ by a tenth or more from run to run; the ratios of
one run are steadier. If the sender leaves time on its core, the scheduler may run the collector there, too: the data
just sent is in that core's caches, and costs half as much as data fetched from another core. So a load that keeps the
sender busy (unpaced, or with a system call for each datagram) costs the collector more.

## Beside other collectors

{bench_peers.table(result["peers"])}
![CPU time for each stored entry, by collector](performance/peers.svg)

{meanings}
To run it: `make bench-peers`, or with other loads, as

    make bench-peers BENCH="--rates 5000,0 --senders 10000 --error-share 0.01 --message-bytes 500 --rounds 5"
    make bench-peers BENCH="--corpus /var/log/some.log --systems ceiling,fastlog,rsyslog"

rsyslog and syslog-ng come from Debian's packages, which are unpacked into `build/`, not installed. The sources of the
others and the settings of all are in `benchmarks/peers/`.

## With the rate

{by_system(usual, lambda p: p["rate"], "entries/s", rate_name)}
![Cost by rate](performance/rate.svg)

Entries that arrive together share the cost of a wake-up. If few arrive, the cost of an entry is mostly that of waking
up, and of an occasional snapshot for the dashboard; at such rates that is a few thousandths of a core in all.

The next table has one datagram for each call of the sender, as from many small senders. Here a receiver that does not
wait is woken for nearly every datagram:

{by_system(single, lambda p: p["rate"], "entries/s", rate_name)}
## With the size of an entry

At {count(SIZES_RATE)} entries a second:

{by_system(result["size"], lambda p: p["entry_bytes"], "bytes", count)}
![Cost by size](performance/size.svg)

Each byte is copied out of the kernel, read by the scanner, copied to the line buffer, and copied to the page cache.

## With the number of senders

At {count(SENDERS_RATE)} entries a second together, a datagram of each in turn, each with sequences of its own:

{by_system(result["senders"], lambda p: p["senders"], "senders", count)}
![Cost by number of senders](performance/senders.svg)

The ledger of a sender is one line of the cache, found by a hash. Those of ten thousand senders do not fit in the
nearest caches, which costs about 80 ns an entry. `ceiling` has no ledger: there only the sending side changes, whose
datagrams come from one address or many. That is also most of the change for fastlog: with so many addresses the sender
has more to do, and the collector is less often on its core. With a system call for each datagram, which keeps the
sender busy in any case, ten thousand senders cost a tenth more than one.

## With the share of ERROR

At {count(ERRORS_RATE)} entries a second; each ERROR is written at once, synced in a group, and acknowledged:

{errors_table(result["errors"])}
![Cost by share of ERROR](performance/errors.svg)

If errors are rare, each of them ends a batch and has a sync of its own. If there are many, syncs begin 5 ms apart, and
one sync serves all errors that arrived meanwhile.

## Several entries in a datagram

All rows with a pace have the same number of entries a second. "Coalesced" are datagrams of one size that the sender
hands to the kernel together (`UDP_SEGMENT`). If not everything is stored, the sender was faster than one core can take,
until the receive buffer was full:

{together_table(result["together"])}
## The parts

`make bench` measures each part alone. Each round is a fixed amount of work; the figures are for one entry, one reject,
or another unit of the second column. Rejected input and input over a cap are measured as well, since a stranger can
send it.

{bench_table.table(result["parts"])}
## Compressed archives

{archives(result["archives"])}
## The next limits

{limit(result)}
## To measure again

    make performance                                  # everything above: a quarter of an hour
    .venv/bin/python -m benchmarks.measure senders    # one part; then `-m benchmarks.report` writes the page

The figures are in [performance.json](performance.json): all costs of a point, and the medians.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the page is not up to date")
    arguments = parser.parse_args()
    result = json.loads(RESULT.read_text())
    text = page(result)
    if arguments.check:
        sys.exit(PAGE.read_text() != text and f"{PAGE} is not what benchmarks/report.py makes of {RESULT}")
    draw(result)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
