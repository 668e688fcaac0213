"""Writes the manual pages and the completions for bash, zsh and fish into a directory, from the parser itself.

    python docs/make_pages.py DIRECTORY

A package installs them: `make deb` does.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from fastlog import __version__
from fastlog.flags import make_parser

COMPLETIONS = {"bash": "fastlog.bash", "zsh": "_fastlog", "fish": "fastlog.fish"}
DIRECTORIES = ("LOG_DIR",)
SUMMARY = "structured logs over UDP: collected cheaply, the errors durable and acknowledged"
FILES = ("files", "env_file", "corpus", "UNIX_SOCKET", "SHIP_CREDENTIALS", "SHIP_CA")


def commands(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """The parser of each command, and what the command is for in a few words."""
    (action,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    summaries = {choice.dest: str(choice.help) for choice in action._choices_actions}
    return {name: (command, summaries[name]) for name, command in action.choices.items()}


def manual_page(parser: argparse.ArgumentParser, name: str, summary: str, sections: dict[str, str]) -> str:
    data = {"project_name": "fastlog", "version": __version__, "manual_title": "fastlog", "description": summary}
    synopsis = parser.format_usage().split()[1:]
    parser.prog = name  # the page is called fastlog-tail, and the command fastlog tail
    page = Manpage(parser, data)
    page.synopsis = [" ".join(synopsis[:2]), *synopsis[2:]] if "-" in name else synopsis
    for heading, content in sections.items():
        page.add_section(heading, "=", content)
    return str(page)


def overview(parser: argparse.ArgumentParser, known: dict[str, tuple[argparse.ArgumentParser, str]]) -> str:
    """The page of `fastlog` itself, which lists the commands. Each has a page of its own."""
    parser._action_groups = [group for group in parser._action_groups if group.title != "commands"]
    listed = "\n".join(f".TP\n\\fBfastlog {name}\\fR\n{summary}" for name, (_, summary) in known.items())
    return manual_page(parser, "fastlog", SUMMARY, {"commands": listed, "see also": pages_of(known)})


def pages_of(names: Iterable[str]) -> str:
    return ", ".join(f"\\fBfastlog\\-{name}\\fR(1)" for name in names)


def main() -> None:
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    parser = make_parser()
    known = commands(parser)
    for command, _ in known.values():
        for action in command._actions:
            if action.dest in DIRECTORIES + FILES:
                action.complete = shtab.DIRECTORY if action.dest in DIRECTORIES else shtab.FILE
    for shell, file_name in COMPLETIONS.items():
        text = shtab.complete(parser, shell)
        if shell == "zsh":  # arguments that come any number of times; as shtab writes them, zsh offers no flags before
            text = text.replace('"(*)::', '"*:')
        (target / file_name).write_text(text)
    del known["help"]
    for name, (command, summary) in known.items():
        others = {"see also": "\\fBfastlog\\fR(1), " + pages_of(other for other in known if other != name)}
        (target / f"fastlog-{name}.1").write_text(manual_page(command, f"fastlog-{name}", summary, others))
    (target / "fastlog.1").write_text(overview(parser, known))


if __name__ == "__main__":
    main()
