"""Writes the parts of documents that are made from the code, between their markers; with --check it only compares.

A part stands between a line with `made by make docs:`, its name and a full stop, and the next line with `end of NAME.`
"""

import difflib
import re
import sys
from itertools import groupby
from pathlib import Path

from fastlog.config import Setting, describe, describe_server
from fastlog.entry import LEVELS, OTHER_NAMES
from fastlog.server._rejects import REJECTED
from fastlog.setting_sources import PREFIX
from fastlog.stats import figures

ROOT = Path(__file__).parents[1]
# Settings that docker-compose.yml fixes for the container.
FIXED = {"SERVER_HOST", "SERVER_PORT", "LOG_DIR", "LOG_FILENAME"} | {
    "DASHBOARD_PORT", "DASHBOARD_HOST", "DASHBOARD_NO_TOKEN", "DASHBOARD_NAMES"
}  # fmt: skip


def names(setting: Setting) -> list[str]:
    """The variables that set it: commands other than `serve` and `ship` read only the prefixed one."""
    prefixed = PREFIX + setting.variable
    return [prefixed] if setting.group == "clients" else [setting.variable, prefixed]


def settings_table() -> list[str]:
    lines = []
    for group, settings in groupby(describe(), key=lambda setting: setting.group):
        lines += [
            "",
            f"### {group.capitalize()}",
            "",
            "| variable | meaning | allowed | default |",
            "|---|---|---|---|",
        ]
        for setting in settings:
            default = setting.as_text(setting.default)
            shown = f"`{default}`" if default else "empty"
            lines.append(f"| `{names(setting)[0]}` | {setting.help} | {setting.allowed} | {shown} |")
    return [*lines, ""]


def example_settings() -> list[str]:
    lines = []
    for setting in describe_server():
        lines += ["", f"# {setting.help}", f"#{setting.variable}={setting.as_text(setting.default)}"]
    return [*lines, ""]


def compose_settings() -> list[str]:
    return [
        f"  {name}: ${{{name}:-}}" for setting in describe() if setting.variable not in FIXED for name in names(setting)
    ]


def reasons_table() -> list[str]:
    rows = [f"| `{reason}` | {meaning} |" for reason, meaning in REJECTED.items()]
    return ["", "| reason | meaning |", "|---|---|", *rows, ""]


def levels_table() -> list[str]:
    rows = [f"| {level} | {', '.join(f'`{name}`' for name in (level, *OTHER_NAMES[level]))} |" for level in LEVELS[:-1]]
    return ["", "| level | its names |", "|---|---|", *rows, ""]


def page_aliases() -> list[str]:
    return [f'  {level}: "{" ".join(names)}",' for level, names in OTHER_NAMES.items()]


def figures_table() -> list[str]:
    rows = []
    for figure in figures():
        metric = f"`{figure.metric.full_name}`" if figure.metric else ""
        rows.append(f"| `{figure.key}` | {figure.meaning} | {metric} |")
    return ["", "| key in `/stats` | meaning | name in `/metrics` |", "|---|---|---|", *rows, ""]


BLOCKS = {
    "settings": (settings_table, "docs/configuration.md"),
    "examples": (example_settings, ".env.example"),
    "environment": (compose_settings, "docker-compose.yml"),
    "levels": (levels_table, "docs/protocol.md"),
    "aliases": (page_aliases, "fastlog/server/page/levels.js"),
    "reasons": (reasons_table, "docs/protocol.md"),
    "figures": (figures_table, "docs/http-api.md"),
}


def with_block(text: str, name: str, lines: list[str]) -> str:
    """The text with the part of this name made anew."""
    part = re.compile(
        rf"(?<=made by make docs: {name}\.)([^\n]*\n).*?(?=^[^\n]*end of {name}\.)", re.DOTALL | re.MULTILINE
    )
    if len(part.findall(text)) != 1:
        raise SystemExit(f"there must be one part called {name}")
    return part.sub(lambda found: found[1] + "".join(line + "\n" for line in lines), text)


def main() -> int:
    differences: list[str] = []
    for name, (make, place) in BLOCKS.items():
        path = ROOT / place
        before = path.read_text()
        after = with_block(before, name, make())
        if "--check" in sys.argv[1:]:
            differences += difflib.unified_diff(before.splitlines(), after.splitlines(), place, "made", lineterm="")
        else:
            path.write_text(after)
    if differences:
        print("\n".join(differences), "", "run make docs", sep="\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
