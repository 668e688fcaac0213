"""Writes docs/cli.md to standard output, from the parser of the command line itself.

Not from its help texts: argparse lays those out differently in each version of Python.
"""

import argparse

from fastlog.flags import make_parser

INTRODUCTION = """\
# The commands

Made from the help of each command; `make docs` writes this page anew.
"""


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def usage(action: argparse.Action) -> str:
    """`-n N, --lines N`, or the name of an argument that is not a flag."""
    name = action.metavar or action.dest.upper()
    if not action.option_strings:
        return f"[{name}]" if action.nargs in ("?", "*") else str(name)
    value = "" if action.nargs == 0 else f" {name}"
    return ", ".join(f"{flag}{value}" for flag in action.option_strings)


def table(actions: list[argparse.Action]) -> str:
    rows = [
        f"| `{usage(action)}` | {str(action.help).replace('%%', '%').replace('|', chr(92) + '|')} |"
        for action in actions
        if action.dest != "help"
    ]
    return "\n".join(["| argument | meaning |", "|---|---|", *rows])


def section(name: str, parser: argparse.ArgumentParser) -> str:
    groups = parser._action_groups
    arguments = [action for group in groups[:2] for action in group._group_actions]  # positional ones and options
    parts = [f"## fastlog {name}", parser.description, table(arguments)]
    for group in groups[2:]:
        parts += [f"**{str(group.title).capitalize()}**", table(group._group_actions)]
    return "\n\n".join(filter(None, [*parts, parser.epilog]))


def main() -> None:
    commands = subcommands(make_parser())
    sections = [section(name, parser) for name, parser in commands.items() if name != "help"]
    print("\n\n".join([INTRODUCTION.rstrip(), *sections]))


if __name__ == "__main__":
    main()
