"""The command line: parses arguments, calls, returns the exit code. Commands import what they need when they run."""

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from fastlog import __version__
from fastlog.config import Settings, as_text, describe, in_force, load
from fastlog.errors import FastlogError, say

CLIENTS_MAX = 256  # of a load test, a thread each: more of them only take turns on any machine


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except FastlogError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastlog", description="Structured logs over UDP: collected cheaply, the errors durable and acknowledged."
    )
    parser.add_argument("--version", action="version", version=f"fastlog {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_send(commands)
    _add_loadtest(commands)
    _add_tail(commands)
    _add_top(commands)
    _add_doctor(commands)
    return parser


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "serve",
        help="receive entries and write them to a log file",
        description="Receive log entries over UDP and write them to a rotated file, until SIGTERM or SIGINT.",
        epilog="Each flag has a variable of the same name, in the environment or in .env. SIGHUP reopens the log file.",
    )
    parser.add_argument("--check", action="store_true", help="check the settings, print them, and end")
    for setting in describe():
        parser.add_argument(
            *flags_of(setting.variable),
            dest=setting.variable,
            metavar="VALUE",
            help=f"{setting.help} ({as_text(setting.field, setting.default) or 'none'})".replace("%", "%%"),
        )
    parser.set_defaults(run=_serve)


def flags_of(variable: str) -> list[str]:
    """The flags of a setting: its variable's name, and the short form that `fastlog send` has too."""
    flag = f"--{variable.lower().replace('_', '-')}"
    short = {"SERVER_HOST": ["--host"], "SERVER_PORT": ["--port"]}
    return [*short.get(variable, []), flag]


def _serve(options: argparse.Namespace) -> int:
    settings, origins = _load(options)
    if options.check:
        for variable, value in in_force(settings).items():
            print(f"{variable}={value}  # {origins[variable]}")
        return 0
    from fastlog.server.server import Server

    return Server(settings).run()


def _add_send(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "send",
        help="send entries to a server",
        description="Send one entry, sample entries, or one entry for each line of standard input.",
        epilog="Entries of PRIORITY_LEVELS are repeated until the server acknowledges them. "
        "Exit code 0: all of them were; 1: some were not, and which; 2: wrong usage.",
    )
    parser.add_argument(
        "message",
        nargs="*",
        metavar="MESSAGE",
        help="the message of one entry, whose words are joined with spaces; without it, see --stdin",
    )
    _add_target(parser)
    parser.add_argument(
        "--level",
        default="INFO",
        metavar="L",
        help="level of the entries; an alias is sent as the level it stands for, `warn` as WARNING (INFO)",
    )
    parser.add_argument("--app", metavar="NAME", help="the application's name, as the entries' field `app`")
    parser.add_argument("--samples", type=_count, metavar="N", help="send N sample entries of random levels")
    parser.add_argument("--interval", type=_seconds, default=0, metavar="S", help="seconds between two samples (0)")
    parser.add_argument("--stdin", action="store_true", help="one entry for each line of standard input")
    parser.add_argument(
        "--json", action="store_true", help="lines that are JSON objects with a message are entries, sent as they are"
    )
    parser.add_argument(
        "--guess-level",
        action="store_true",
        help="the level that a line names near its beginning, else that of --level",
    )
    _add_timeout(parser)
    parser.set_defaults(run=_send, usage_error=parser.error)


def _send(options: argparse.Namespace) -> int:
    options.message = " ".join(options.message) if options.message else None
    if sum((options.message is not None, options.samples is not None, options.stdin)) > 1:
        options.usage_error("give one of MESSAGE, --samples and --stdin")
    if options.json and (options.message is not None or options.samples is not None):
        options.usage_error("--json is for lines of standard input")
    return _command("commands.send")(options)


def _add_loadtest(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "loadtest",
        help="send at a pace, and account for every entry",
        description="Send entries at a pace, and tell what became of each of them by the figures of the server.",
        epilog="Exit code 0: the account balances, every entry is stored, and every ERROR is acknowledged; 1: not so, "
        "or unknown; 2: wrong usage.",
    )
    _add_target(parser)
    parser.add_argument("--logs", type=_count_from_1, metavar="N", help="entries to send, by all clients (10000)")
    parser.add_argument(
        "--rate", type=_rate, default=1000.0, metavar="N", help="entries a second, by all clients; 0: no limit (1000)"
    )
    parser.add_argument("--clients", type=_clients, default=4, metavar="N", help="clients, each with a socket (4)")
    parser.add_argument("--duration", type=_seconds, metavar="S", help="seconds to send for, instead of --logs")
    parser.add_argument("--error-share", type=_share, metavar="F", help="share of ERROR entries, from 0 to 1 (0.01)")
    parser.add_argument("--message-bytes", type=_bytes, metavar="N", help="size of every message (as in real logs)")
    parser.add_argument("--corpus", metavar="FILE", help="send the lines of a file instead of made-up entries")
    parser.add_argument("--seed", type=_count, default=1, metavar="N", help="of the made-up entries (1)")
    _add_timeout(parser)
    parser.add_argument(
        "--dashboard", metavar="URL", help="where the server tells its figures (http://HOST:DASHBOARD_PORT)"
    )
    parser.add_argument("--find-max", action="store_true", help="search the highest rate without loss; ignores --rate")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=_loadtest, usage_error=parser.error)


def _loadtest(options: argparse.Namespace) -> int:
    if options.corpus is not None and options.message_bytes is not None:
        options.usage_error("--message-bytes is for made-up entries: leave away --corpus or it")
    return _command("loadtest.run")(options)


def _add_tail(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "tail",
        help="show the entries of the log file",
        description="Show the entries of the log file and its archives, oldest first, as "
        "`time LEVEL app host message key=value…`. What would act on the terminal is shown as an escape.",
        epilog="An entry is shown if it meets every condition. LOG_DIR and LOG_FILENAME are those of `fastlog serve`.",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new entries, over rotations too")
    parser.add_argument(
        "-n",
        "--lines",
        metavar="N",
        help="the last N entries that meet the conditions, or `all` (10; all with a condition and without -f)",
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="entries whose timestamp is not before it: a duration like 90s, 10m, 2h, 1d, 1w, or a time like "
        "2026-11-24T07:00:00Z, in UTC unless it says otherwise; those without a timestamp stay",
    )
    parser.add_argument(
        "--level", metavar="L", help="entries of this level and above; OTHER: of levels that are none of the known ones"
    )
    parser.add_argument("--app", metavar="X", help="entries of this application")
    parser.add_argument("--host", metavar="X", help="entries of this host")
    parser.add_argument(
        "--grep",
        metavar="RE",
        help="entries with a match of this regular expression in the message, or in another field as key=value",
    )
    parser.add_argument("--json", action="store_true", help="the lines as they are stored, for jq and other programs")
    _add_settings(parser, "LOG_DIR", "LOG_FILENAME")
    parser.set_defaults(run=_command("commands.tail"))


def _add_top(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "top",
        help="watch a running server",
        description="Show the figures of a running server, until Ctrl-C. Red is what was lost.",
        epilog="It asks the server's dashboard, with DASHBOARD_TOKEN if that is set.",
    )
    parser.add_argument(
        "--url", help="the server's dashboard (http://127.0.0.1:8080, from DASHBOARD_HOST and DASHBOARD_PORT)"
    )
    parser.add_argument("--once", action="store_true", help="show the figures once, as when the output is no terminal")
    parser.set_defaults(run=_command("commands.top"))


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "doctor",
        help="find problems and print how to fix them",
        description="Look at the server of this machine and what it needs: receive buffer, losses, disk, clock, port. "
        "With --server, look from a client's side: send one entry of a priority level and wait for its ACK.",
        epilog="The entry that --server sends has the app `fastlog-doctor`, and is stored like any other. "
        "Exit code 0: no problem; 1: a problem; 2: wrong usage.",
    )
    parser.add_argument("--server", metavar="HOST", help="name or address of a server to reach")
    parser.add_argument("--port", dest="SERVER_PORT", type=_port, metavar="N", help="UDP port (SERVER_PORT, or 5514)")
    parser.add_argument("--url", help="the dashboard of the server of this machine (as for `fastlog top`)")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    _add_settings(parser, "LOG_DIR", "LOG_FILENAME")
    parser.set_defaults(run=_command("commands.doctor"))


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server", default="127.0.0.1", metavar="HOST", help="name or address of the server (127.0.0.1)"
    )
    parser.add_argument(
        "--port", dest="SERVER_PORT", type=_port, metavar="N", help="its UDP port (SERVER_PORT, or 5514)"
    )


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=10,
        metavar="S",
        help="seconds until an entry counts as not acknowledged (10)",
    )


def _add_settings(parser: argparse.ArgumentParser, *variables: str) -> None:
    """Flags of settings, as `fastlog serve` has them."""
    for setting in describe():
        if setting.variable in variables:
            parser.add_argument(
                *flags_of(setting.variable),
                dest=setting.variable,
                metavar="VALUE",
                help=f"{setting.help} ({setting.variable}, or {as_text(setting.field, setting.default)})",
            )


def _load(options: argparse.Namespace) -> tuple[Settings, dict[str, str]]:
    """The settings in force, by the command's flags, the environment and .env, and where each comes from."""
    flags = {name: value for name, value in vars(options).items() if name.isupper() and value is not None}
    return load(flags, os.environ, Path(".env"))


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """Runs the module of a command, which is imported then; wrong settings are told before."""

    def run(options: argparse.Namespace) -> int:
        settings, _ = _load(options)
        return int(import_module(f"fastlog.{name}").run(options, settings))

    return run


def _port(text: str) -> str:
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a whole number from 1 to 65535")
    return text


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def _count_from_1(text: str) -> int:
    return _whole(text, 1, 10**12)


def _clients(text: str) -> int:
    return _whole(text, 1, CLIENTS_MAX)


def _bytes(text: str) -> int:
    return _whole(text, 0, 60_000)


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isdecimal() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
    return int(text)


def _rate(text: str) -> float:
    return _number(text, 1e9)


def _share(text: str) -> float:
    return _number(text, 1)


def _number(text: str, most: float, what: str = "number") -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no {what} from 0 to {most:.0f}")
    return value


def _seconds(text: str) -> float:
    return _number(text, 86400, "number of seconds")


if __name__ == "__main__":
    sys.exit(main())
