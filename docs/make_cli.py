"""Writes docs/cli.md to standard output, from the parser of the command line itself.

Not from its help texts: argparse lays those out in another way in each version of Python.
"""

import argparse

from fastlog.cli import _parser

INTRODUCTION = """\
# The commands

Made from `fastlog --help` and the help of each command; `make docs` writes it anew.
"""


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def usage(action: argparse.Action) -> str:
    """`-n N, --lines N`, or the name of an argument that is no flag."""
    name = action.metavar or action.dest.upper()
    if not action.option_strings:
        return f"[{name}]" if action.nargs in ("?", "*") else str(name)
    value = "" if action.nargs == 0 else f" {name}"
    return ", ".join(f"{flag}{value}" for flag in action.option_strings)


def section(name: str, parser: argparse.ArgumentParser) -> str:
    rows = [
        f"| `{usage(action)}` | {str(action.help).replace('%%', '%').replace('|', chr(92) + '|')} |"
        for action in parser._actions
        if action.dest != "help"
    ]
    table = "\n".join(["| argument | meaning |", "|---|---|", *rows])
    return "\n\n".join(filter(None, [f"## fastlog {name}", parser.description, table, parser.epilog]))


def main() -> None:
    commands = subcommands(_parser())
    print("\n\n".join([INTRODUCTION.rstrip(), *(section(name, parser) for name, parser in commands.items())]))


if __name__ == "__main__":
    main()
