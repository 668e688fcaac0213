"""rsyslog and syslog-ng, asked what they make of the same datagrams: where both agree fastlog agrees with them, but for
words of the message that both took for something else. The table in docs/senders.md shows the kinds."""

import json
import re
from pathlib import Path

from fastlog.inputs import syslog
from tests.helpers import oracles
from tests.helpers.datagrams import RECEIPT, datagrams
from tests.helpers.senders import DOCUMENT, needs

LITERAL = Path(__file__).parents[1] / "helpers/syslog_datagrams.txt"
# Headers of which fastlog understands more than both: zones behind the time, and Cisco's tags behind a colon.
UNDERSTOOD_FURTHER = {"zone-utc", "zone-cet", "asa", "asa-tz", "asa-year-host", "rfc3164-tz-words", "sng-cisco-ftd"}
# Words with a colon and no blank behind it, which fastlog keeps whole: addresses, ports, paths, keys, numbers of lines.
KEPT_WHOLE = {
    "message-json-no-tag", "cef", "leef", "haproxy-short", "haproxy-timed", "text-url", "text-mount", "text-drive",
    "text-port", "text-line", "text-colons", "text-mac", "text-ipv6", "text-level",
}  # fmt: skip
CELL = re.compile(r"`((?:[^`\\]|\\.)*)`")

pytestmark = [needs("rsyslogd", "rsyslog"), needs("syslog-ng", "syslog-ng-core")]


def of_fastlog(datagram: bytes) -> dict[str, str]:
    """The fields that the oracles are asked for, as they are compared: without blanks around them and those that are
    `-`, and the sender's address is no host."""
    entry = json.loads(syslog.decode(datagram, RECEIPT)[1])
    if entry["host"] == RECEIPT.host:
        del entry["host"]
    return {name: entry[name].strip() for name in oracles.FIELDS if entry.get(name, "").strip() not in ("", "-")}


def literal_datagrams() -> dict[str, bytes]:
    lines = [line for line in LITERAL.read_text().splitlines() if not line.startswith("#")]
    pairs = [line.partition(" ")[::2] for line in lines]
    return {name: text.encode().decode("unicode_escape").encode("latin-1") for name, text in pairs}


def test_fastlog_agrees_where_both_agree(tmp_path):
    asked = literal_datagrams()
    asked |= {case.name: case.data for case in datagrams() if syslog.is_syslog(case.data) and len(case.data) < 8000}
    both = zip(
        oracles.rsyslog(tmp_path, list(asked.values())), oracles.syslog_ng(tmp_path, list(asked.values())), strict=True
    )
    agreed = {name: one for name, (one, other) in zip(asked, both, strict=True) if one == other}
    assert len(agreed) > 200
    differing = {}
    for name, expected in agreed.items():
        found = of_fastlog(asked[name])
        if found != expected and not ate_words(name, expected, found) and name not in UNDERSTOOD_FURTHER:
            differing[name] = (asked[name], expected, found)
    assert not differing


def ate_words(name: str, both: dict[str, str], found: dict[str, str]) -> bool:
    """Whether both took the beginning of the message, as fastlog has it, for an app or a pid, though it is no tag."""
    whole, rest = found.get("message", ""), both.get("message", "")
    beginning = whole.removesuffix(rest)
    if beginning.rstrip().endswith(":") and name not in KEPT_WHOLE:
        return False
    taken = [both[key] for key in ("app", "pid") if key not in found and key in both]
    same_host = both.get("host") == found.get("host")
    return same_host and bool(taken) and whole.endswith(rest) and all(word in beginning for word in taken)


def rows(columns: int) -> list[list[str]]:
    """The rows of the document's table with so many columns of JSON, and the datagram before them."""
    found = [CELL.findall(line.replace("\\|", "|")) for line in DOCUMENT.splitlines() if line.startswith("| `<")]
    return [cells for cells in found if len(cells) == columns + 1]


def test_the_tables_of_the_document_are_right(tmp_path):
    shown = [[*cells[:1], cells[1], *cells[1:]] for cells in rows(2)] + rows(3)
    assert len(shown) > 10
    asked = [cells[0].encode() for cells in shown]
    answers = zip(oracles.rsyslog(tmp_path, asked), oracles.syslog_ng(tmp_path, asked), strict=True)
    for datagram, cells, answer in zip(asked, shown, answers, strict=True):
        assert [*answer, of_fastlog(datagram)] == [json.loads(cell) for cell in cells[1:]], datagram
