"""The views of `fastlog top` besides its first page: one sender, recent errors, and the keys.

Each is a list of lines, of which the terminal shows as many as it has room for.
"""

import time

from rich.console import Group, RenderableType
from rich.text import Text

from fastlog.answers import SenderAnswer
from fastlog.commands.rendering import Form, render
from fastlog.commands.terminal import visible
from fastlog.commands.top_page import LOSS, duration
from fastlog.stats import Stats

KEYS = (
    ("Up, Down", "select a sender, or scroll by a line"),
    ("PageUp, PageDown", "scroll by a page"),
    ("Home", "scroll to the beginning"),
    ("Enter", "open the selected sender"),
    ("e", "recent errors"),
    ("r", "the next range of the chart: 5m, 1h, 24h, 7d"),
    ("Escape", "back to the first page"),
    ("?", "this list"),
    ("q", "quit"),
)


def keys_lines() -> list[Text]:
    return [Text.assemble((f"{key:<18}", "bold"), meaning) for key, meaning in KEYS] + [
        Text(),
        Text("In the charts | is a start of the server."),
    ]


def error_lines(stats: Stats, encoding: str) -> list[Text]:
    """The newest first. What the terminal's encoding lacks is escaped here, since an escape takes more room."""
    lines = [Text(f"the newest {len(stats.recent_errors):,} of {stats.priority_entries:,} priority entries", "dim")]
    for raw in reversed(stats.recent_errors):
        shown = render(bytes(raw).decode("utf-8", "replace"), Form())
        lines.append(Text(shown.encode(encoding, "backslashreplace").decode(encoding)))
    return lines


def sender_lines(address: str, sender: SenderAnswer | None) -> list[Text]:
    lines = [Text.assemble("sender ", (visible(address), "bold"))]
    if sender is None:
        return [*lines, Text("The server does not know it, or no longer: it forgets a sender after an hour.")]
    gaps = Text(f"gaps {sender.lost:,}", LOSS if sender.lost else "")
    lines += [
        Text.assemble(f"received {sender.received:,}  ", gaps),
        Text(f"came again {sender.repeated:,}  restarts {sender.restarts:,}"),
        Text(f"first heard {_ago(sender.first_heard)}"),
        Text(f"last heard {_ago(sender.last_heard)}"),
        Text(f"its lines: fastlog tap --sender {sender.address}", "dim"),
        Text(),
    ]
    if sender.gaps is None:
        return lines
    lines.append(Text("gaps over time, the newest first", "dim"))
    return lines + [Text(f"{_ago(gap.at)}  +{gap.count:,}", LOSS) for gap in reversed(sender.gaps)]


def _ago(moment: float) -> str:
    """In local time, which a person on this machine has on the clock."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    return f"{at} ({duration(max(0.0, time.time() - moment))} ago)"


class Scroll:
    """Which of the lines are shown. One that is longer than the terminal is wide takes several lines there, so the last
    ones may be cut off, and come when one scrolls."""

    def __init__(self) -> None:
        self.first = 0

    def move(self, key: str, room: int) -> None:
        steps = {"up": -1, "down": 1, "pageup": -room, "pagedown": room}
        self.first = 0 if key == "home" else max(0, self.first + steps.get(key, 0))

    def draw(self, title: Text, lines: list[Text], room: int) -> RenderableType:
        self.first = max(0, min(self.first, len(lines) - 1))
        return Group(title, *lines[self.first : self.first + room])
