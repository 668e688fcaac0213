"""Every command of `fastlog` with its flags, help and examples."""

import argparse
import sys
from pathlib import Path
from textwrap import indent
from typing import TypeAlias

from fastlog import __version__, arguments
from fastlog.config import Setting, describe, describe_server
from fastlog.service import DASHBOARD_USES, ENV_FILES, SYSTEM_LOG_DIR, UNIT
from fastlog.setting_sources import SERVER_VARIABLE

SERVE = "fastlog.server.server"
DEFAULT_SERVER = "127.0.0.1"

# The settings that each command uses. `serve` uses all except those of clients.
CLIENT_USES = ("SERVER_PORT", "PRIORITY_LEVELS", "SNDBUF_SIZE")
LOG_USES = ("LOG_DIR", "LOG_FILENAME")
SHIP_USES = (*LOG_USES, "SHIP_TO", "SHIP_NODE", "SHIP_BATCH_KB", "SHIP_CREDENTIALS", "SHIP_CA", "REJECTS_MAX_MB")
DISK_USES = ("MAX_LOG_SIZE_MB", "LOG_BACKUPS", "LOG_KEEP_MB", "LOG_COMPRESS", "REJECTS_MAX_MB")

# Where `tail` and `count`, and `top` and `doctor`, find what they are not told.
FINDS_LOG = (
    "Without --log-dir, --env-file and FASTLOG_LOG_DIR the log is looked for in ./logs, and then where the\n"
    f"service of this machine writes: by the files that {UNIT} reads, such as {ENV_FILES[0]},\n"
    f"in {SYSTEM_LOG_DIR}, and by the /stats of a server that runs."
)
FINDS_SERVICE = (
    "Settings come from flags, then from variables that begin with FASTLOG_, then from --env-file. Without\n"
    "--url and --env-file the rest comes from the service of this machine: from the files that\n"
    f"{UNIT} reads, such as {ENV_FILES[0]}."
)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line. Its result has `module`, the module of the command; if that is None, the caller
    calls `show_help`. A flag that sets a setting is there under the name of the variable, in capitals."""
    parser = argparse.ArgumentParser(
        prog="fastlog",
        description="Collects structured logs over UDP cheaply; errors are made durable and acknowledged.",
        epilog="`fastlog COMMAND --help` shows the arguments of a command, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"fastlog {__version__}")
    commands = parser.add_subparsers(prog="fastlog", metavar="COMMAND", title="commands")
    for add in (
        _add_serve,
        _add_send,
        _add_loadtest,
        _add_tail,
        _add_tap,
        _add_count,
        _add_ship,
        _add_top,
        _add_doctor,
    ):
        add(commands)
    _add_help(commands, parser)
    parser.set_defaults(module=None, show_help=lambda options: _show_help(parser, 2))
    return parser


def _add(
    commands: Commands, name: str, summary: str, description: str, examples: str, notes: str = ""
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog="\n\n".join(filter(None, [notes, "Examples:", indent(examples, "    ")])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_help(commands: Commands, parser: argparse.ArgumentParser) -> None:
    helper = commands.add_parser("help", help="show this help, or that of a command")
    known = {name: command for name, command in commands.choices.items() if name != "help"}
    helper.add_argument("command", nargs="?", metavar="COMMAND", choices=list(known), help="one of the commands")
    helper.set_defaults(show_help=lambda options: _show_help(known.get(options.command, parser), 0))


def _show_help(parser: argparse.ArgumentParser, exit_code: int) -> int:
    parser.print_help(sys.stderr if exit_code else sys.stdout)
    return exit_code


def _add_serve(commands: Commands) -> None:
    parser = _add(
        commands,
        "serve",
        "receive entries and write them to a log file",
        "Receive log entries over UDP and write them to a rotated file, until SIGTERM or SIGINT.",
        "fastlog serve\nfastlog serve --port 6000 --log-dir /var/log/app --max-log-size-mb 500\nfastlog serve --check",
        "Each flag has a variable of the same name, in the environment or in .env: FLUSH_COUNT or,\n"
        "first, FASTLOG_FLUSH_COUNT. SIGHUP reopens the log file.",
    )
    parser.add_argument("--check", action="store_true", help="check the settings, print them, and exit")
    files = parser.add_mutually_exclusive_group()
    files.add_argument(
        "--env-file", type=Path, metavar="FILE", help="file to read settings from (.env, if there is one)"
    )
    files.add_argument("--no-env-file", action="store_true", help="do not read .env")
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in describe_server():
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        _add_flag(groups[setting.group], setting, setting.as_text(setting.default) or "none")
    parser.set_defaults(module=SERVE)


def _add_send(commands: Commands) -> None:
    parser = _add(
        commands,
        "send",
        "send entries to a server",
        "Send one entry, sample entries, or one entry for each line of standard input.",
        'fastlog send "disk full" --level ERROR --app backup\n'
        "tail -F app.log | fastlog send --app shop --guess-level\n"
        "fastlog send --server logs.example.net --samples 20",
        "Entries of PRIORITY_LEVELS are sent again until the server acknowledges them.\n\n"
        "At the end of the input the command waits for as long as entries get through, and ends when none\n"
        "does for --timeout seconds. While a server is away, up to 20,000 entries wait in memory. Then the\n"
        "input waits, too, for --timeout seconds at most; after that, what finds no room is dropped and\n"
        "counted, until the server is back. Of a file, the rest is not read.\n\n"
        "On SIGTERM, SIGHUP or Ctrl-C it reads no more, and delivers what it has read, for --timeout seconds\n"
        "at most. A second signal ends that wait.\n\n"
        "Exit code 0: everything was delivered, as far as is known, also after SIGTERM or SIGHUP;\n"
        "1: something was not, and what; 2: wrong usage; 130: everything was delivered that was read\n"
        "before Ctrl-C.",
    )
    parser.add_argument(
        "message",
        nargs="*",
        metavar="MESSAGE",
        help="message of one entry, its words joined with spaces; without it, see --stdin",
    )
    _add_server(parser)
    parser.add_argument(
        "--level",
        default="INFO",
        metavar="L",
        help="level of the entries; an alias is sent as the level it stands for, `warn` as WARNING (INFO)",
    )
    parser.add_argument("--app", metavar="NAME", help="name of the application, for the field `app`")
    parser.add_argument("--samples", type=arguments.count, metavar="N", help="send N sample entries of random levels")
    parser.add_argument(
        "--interval", type=arguments.seconds, default=0, metavar="S", help="seconds between two samples (0)"
    )
    parser.add_argument("--stdin", action="store_true", help="send one entry for each line of standard input")
    parser.add_argument(
        "--json", action="store_true", help="send lines that are JSON objects with a message as the entries they are"
    )
    parser.add_argument(
        "--guess-level", action="store_true", help="take the level that a line names near its start, else --level"
    )
    _add_timeout(parser)
    _add_flags(parser, "SNDBUF_SIZE")
    parser.set_defaults(module="fastlog.commands.send", check=_check_send, error=parser.error)


def _check_send(options: argparse.Namespace) -> None:
    options.message = " ".join(options.message) if options.message else None
    if sum((options.message is not None, options.samples is not None, options.stdin)) > 1:
        options.error("give one of MESSAGE, --samples and --stdin")
    if options.json and (options.message is not None or options.samples is not None):
        options.error("--json is for lines of standard input")


def _add_loadtest(commands: Commands) -> None:
    parser = _add(
        commands,
        "loadtest",
        "measure a server under load and account for every entry",
        "Send entries at a given rate, and report what became of each of them by the server's stats.",
        "fastlog loadtest --logs 100000 --rate 20000 --clients 8\n"
        "fastlog loadtest --rate 0 --duration 10 --corpus app.log\n"
        "fastlog loadtest --find-max",
        "Exit code 0: every entry is accounted for and stored, and every priority entry acknowledged;\n"
        "1: not so, or unknown; 2: wrong usage; 130: interrupted.",
    )
    _add_server(parser)
    add = parser.add_argument
    add("--logs", type=arguments.entry_count, metavar="N", help="entries to send, by all clients together (10000)")
    add(
        "--rate",
        type=arguments.rate,
        default=1000.0,
        metavar="N",
        help="entries a second, by all clients together; 0: as fast as possible (1000)",
    )
    add("--clients", type=arguments.client_count, default=4, metavar="N", help="clients, each with its own socket (4)")
    add("--duration", type=arguments.seconds, metavar="S", help="seconds to send for, instead of --logs")
    add("--error-share", type=arguments.share, metavar="F", help="share of ERROR entries, from 0 to 1 (0.01)")
    add("--message-bytes", type=arguments.message_bytes, metavar="N", help="size of every message (as in real logs)")
    add("--corpus", metavar="FILE", help="send the lines of a file instead of generated entries")
    add("--seed", type=arguments.count, default=1, metavar="N", help="seed of the generated entries (1)")
    _add_timeout(parser)
    add("--dashboard", metavar="URL", help="URL of the server's dashboard (http://HOST:DASHBOARD_PORT)")
    add("--find-max", action="store_true", help="search for the highest rate without loss; ignores --rate")
    add("--json", action="store_true", help="print the report as JSON")
    _add_flags(parser, "SNDBUF_SIZE")
    uses = (*CLIENT_USES, "DASHBOARD_PORT", "DASHBOARD_TOKEN")
    parser.set_defaults(module="fastlog.commands.loadtest", client_uses=uses, check=_check_loadtest, error=parser.error)


def _check_loadtest(options: argparse.Namespace) -> None:
    if options.corpus is not None and options.message_bytes is not None:
        options.error("--message-bytes cannot be used with --corpus")


def _add_tail(commands: Commands) -> None:
    parser = _add(
        commands,
        "tail",
        "show the entries of the log file",
        "Show the entries of the log file and its archives, oldest first, as\n"
        "`time LEVEL app host message key=value…`. Control characters are escaped. The sequence is shown by\n"
        "--fields and --json only.",
        "fastlog tail -f\n"
        "fastlog tail --since 1h --level ERROR\n"
        "fastlog tail --since 14:02 --until 14:05\n"
        "fastlog tail --since yesterday --until today --local --level ERROR\n"
        "fastlog tail --since 1h30m --fields time,level,message,order\n"
        "fastlog tail --level ERROR --color always | less -R\n"
        "fastlog tail -n all server.log.2.gz server.log.1.zst server.log\n"
        "ssh web-1 cat /var/log/fastlog/server.log | fastlog tail --grep timeout -\n"
        "fastlog tail --app shop --grep 'order=4[0-9]+' --json | jq .message",
        f"An entry is shown if it meets every condition.\n\n{FINDS_LOG}\n\n"
        "Exit code 0: everything was read; 1: there is no log; 2: wrong usage, or something could not be read.",
    )
    _add_files(parser)
    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="keep showing new entries, across rotations")
    add(
        "-n",
        "--lines",
        metavar="N",
        help="the last N entries that meet the conditions, or `all` (10; all with a condition and without -f)",
    )
    _add_conditions(parser)
    _add_form(parser, "show times in the time zone of this machine, and take those of --since and --until so")
    add("--json", action="store_true", help="print the lines as they are stored, for jq and other programs")
    _add_flags(parser, *LOG_USES)
    _add_env_file(parser)
    parser.set_defaults(module="fastlog.commands.tail", uses=LOG_USES, finds_service=True)


def _add_tap(commands: Commands) -> None:
    parser = _add(
        commands,
        "tap",
        "show the entries of a running server as they come",
        "Show the entries of a running server as they come, from whatever machine, or its rejected input. They are\n"
        "printed as `fastlog tail` prints them. More than 50 a second are not shown, but counted: then a line on\n"
        "standard error says how many are.",
        "fastlog tap --level ERROR\n"
        "fastlog tap --url http://logs.example.net:8080 --app shop --grep timeout\n"
        "fastlog tap --sender 192.0.2.17\n"
        "fastlog tap --rejected --json | jq .reason",
        "An entry is shown if it meets every condition. The entries come from the server's dashboard; set\n"
        "FASTLOG_DASHBOARD_TOKEN if it needs a token. When the server restarts, the view continues.\n\n"
        f"{FINDS_SERVICE}\n\n"
        "Exit code 0: it was ended; 1: the server cannot be reached, or refuses; 2: wrong usage.",
    )
    _add_names(parser)
    add = parser.add_argument
    add(
        "--sender",
        metavar="ADDRESS",
        help="entries, or rejected input, of this sender, with or without its port, by the address that the server "
        "recorded: with STAMP=missing only entries that name no host have one",
    )
    add("--grep", metavar="TEXT", help="entries with this text in the message, or in another field as key=value")
    add("--rejected", action="store_true", help="rejected input in place of entries: why, of whom, its size and bytes")
    add("--reason", metavar="R", help="with --rejected: what was rejected for this reason, such as syntax or utf8")
    add("-n", "--lines", type=arguments.tap_lines, default=0, metavar="N", help="begin with the last N, up to 200 (0)")
    _add_form(parser, "show times in the time zone of this machine")
    add("--json", action="store_true", help="print the lines as they are stored, for jq and other programs")
    add("--url", help="URL of the dashboard (http://DASHBOARD_HOST:DASHBOARD_PORT)")
    _add_env_file(parser)
    parser.set_defaults(
        module="fastlog.commands.tap", uses=DASHBOARD_USES, finds_service=True, check=_check_tap, error=parser.error
    )


def _check_tap(options: argparse.Namespace) -> None:
    if options.reason is not None and not options.rejected:
        options.error("--reason needs --rejected")
    if options.rejected and (options.level or options.app or options.host):
        options.error("--level, --app and --host are for entries, not for --rejected")
    if options.fields is not None and (options.rejected or options.json):
        options.error("--fields goes neither with --rejected nor with --json")


def _add_count(commands: Commands) -> None:
    parser = _add(
        commands,
        "count",
        "count the entries of the log file",
        "Count the entries of the log file and its archives, all together or by level, app, host or minute.\n"
        "In a terminal a histogram is drawn; otherwise columns are printed, the count last. Of compressed\n"
        "archives only those parts are unpacked whose summaries do not say it.",
        "fastlog count --by level\n"
        "fastlog count --by minute --level ERROR --since 1d\n"
        "fastlog count --by host --since 1h --top 5\n"
        "fastlog count --by minute --local --since today server.log.1.zst server.log\n"
        "fastlog count --by app --json | jq '.counts[] | [.app, .count]'",
        "An entry is counted if it meets every condition. `-` stands for entries that have no app, no host or\n"
        "no time. Minutes are in UTC without --local, by `received` where it is recorded, else by `timestamp`.\n\n"
        f"{FINDS_LOG}\n\n"
        '--json prints one object: {"total": 5, "by": "app", "counts": [{"app": "shop", "count": 4},\n'
        '{"app": null, "count": 1}], "others": {"values": 0, "count": 0}}; without --by only `total`.\n\n'
        "Exit code 0: everything was counted; 1: there is no log; 2: wrong usage, or something could not be read.",
    )
    _add_files(parser)
    add = parser.add_argument
    add("--by", choices=("level", "app", "host", "minute"), help="count each of these apart")
    add(
        "--top",
        type=arguments.top,
        metavar="N",
        help="with --by: only the N values of most entries, and the others together (20 apps or hosts in a terminal; "
        "otherwise all)",
    )
    _add_conditions(parser)
    _add_zone(
        parser,
        "show minutes in the time zone of this machine, and take --since and --until so",
        "show minutes in UTC, as without it",
    )
    add("--json", action="store_true", help="print one JSON object")
    _add_flags(parser, *LOG_USES)
    _add_env_file(parser)
    parser.set_defaults(
        module="fastlog.commands.count", uses=LOG_USES, finds_service=True, check=_check_count, error=parser.error
    )


def _check_count(options: argparse.Namespace) -> None:
    if options.top is not None and options.by is None:
        options.error("--top needs --by")


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="files to read in this order, instead of the log; .zst and .gz are unpacked, - is standard input",
    )


def _add_zone(parser: argparse.ArgumentParser, local: str, utc: str) -> None:
    """`local`, `utc`: what these flags do."""
    zones = parser.add_mutually_exclusive_group()
    zones.add_argument("--local", dest="zone", action="store_const", const="local", help=local)
    zones.add_argument("--utc", dest="zone", action="store_const", const="utc", help=utc)


def _add_form(parser: argparse.ArgumentParser, local: str) -> None:
    """How entries are shown: for `tail` and `tap`. `local`: what this flag does."""
    _add_zone(parser, local, "show times in UTC")
    parser.add_argument(
        "--fields",
        metavar="NAMES",
        help="show only these fields, in this order, such as time,level,message,order; all but time, level, app, host "
        "and message as key=value",
    )
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours; auto: in a terminal, unless NO_COLOR is set, and anywhere if FORCE_COLOR is (auto)",
    )


def _add_names(parser: argparse.ArgumentParser) -> None:
    """Whose entries are wanted, and of which level: for `tail`, `count` and `tap`."""
    add = parser.add_argument
    add("--level", metavar="L", help="entries of this level and above; OTHER: entries whose level is not a known one")
    add("--app", metavar="X", help="entries of this application")
    add("--host", metavar="X", help="entries of this host")


def _add_conditions(parser: argparse.ArgumentParser) -> None:
    """Which entries of the log are wanted: for `tail` and `count`."""
    add = parser.add_argument
    add(
        "--since",
        metavar="TIME",
        help="entries from this time on, by `received` where it is recorded, else by `timestamp`: a duration like 90s, "
        "10m, 1h30m, 1d, 1w before now, a time like 2026-11-24T07:00:00Z, '2026-11-24 07:00', 2026-11-24 or 07:00, in "
        "UTC unless it has an offset, or today or yesterday; entries without a time are in every window",
    )
    add("--until", metavar="TIME", help="entries before this time, as for --since")
    add(
        "--clock-slack",
        metavar="D",
        help="widen the window of --since and --until by this duration, such as 5m, for entries whose receipt was not "
        "recorded: their senders' clocks may be wrong (0s)",
    )
    _add_names(parser)
    add(
        "--grep",
        metavar="RE",
        help="entries where this regular expression matches the message, or another field as key=value",
    )


def _add_ship(commands: Commands) -> None:
    parser = _add(
        commands,
        "ship",
        "ship the log to NATS JetStream or Elasticsearch, each line once",
        "Ship every durable line of the log and its archives to an engine, in order, and continue with new ones\n"
        "until SIGTERM or SIGINT. It may be killed and started again at any time: it continues where it was.",
        "fastlog ship --to nats://127.0.0.1:4222/LOGS --create\n"
        "fastlog ship --to nats://127.0.0.1:4222/LOGS --check\n"
        "fastlog ship --to https://search.example.net:9200/fastlog --credentials /etc/fastlog/search\n"
        "fastlog ship --env-file /etc/fastlog.env --once",
        "One shipper runs for each log. NATS needs `pip install 'fastlog-udp[nats]'`. For Elasticsearch,\n"
        "`pip install 'fastlog-udp[bulk]'` halves its processor time. Where it runs as a service, set\n"
        "FASTLOG_SHIP_TO rather than --to: other users can see the flags of a process.\n\n"
        "Exit code 0: all is shipped (--once), or it was ended; 1: the engine refuses, or the log cannot be\n"
        "shipped; 2: wrong usage; 3: another shipper writes for this node, or the stream was emptied.",
    )
    add = parser.add_argument
    add("--once", action="store_true", help="end when all that the log has now is shipped")
    add("--check", dest="check_only", action="store_true", help="print where the engine and the log are, ship nothing")
    add("--create", action="store_true", help="make the stream if there is none")
    add("--from-start", action="store_true", help="ship all files anew where the engine has lost its place in them")
    _add_flags(parser, *SHIP_USES)
    _add_env_file(parser)
    # It runs as a service beside the server, and takes the same variables. It sends the log away, so it is not content
    # with another one than it was told.
    parser.set_defaults(module="fastlog.commands.ship", uses=SHIP_USES, plain_names=True)


def _add_top(commands: Commands) -> None:
    parser = _add(
        commands,
        "top",
        "watch a running server",
        "Show the stats of a running server, until q or Ctrl-C, and charts of the last 5 minutes, hour, 24 hours or 7 "
        "days. Losses and a silent server are red. The key ? lists the others.",
        "fastlog top\nfastlog top --url http://logs.example.net:8080\nfastlog top --once",
        "The stats come from the server's dashboard. Set FASTLOG_DASHBOARD_TOKEN if it needs a token.\n\n"
        f"{FINDS_SERVICE}",
    )
    parser.add_argument("--url", help="URL of the dashboard (http://DASHBOARD_HOST:DASHBOARD_PORT)")
    parser.add_argument(
        "--once", action="store_true", help="show the stats once; the default if the output is not a terminal"
    )
    _add_env_file(parser)
    parser.set_defaults(module="fastlog.commands.top", uses=DASHBOARD_USES, finds_service=True)


def _add_doctor(commands: Commands) -> None:
    parser = _add(
        commands,
        "doctor",
        "find problems and print how to fix them",
        "Examine the server on this machine and what it needs: receive buffer, losses, disk, clock, port; and where\n"
        "the log is shipped, the shipper and its engine.\n"
        "With --server, look from a client's side: send one priority entry and wait for its ACK.",
        "fastlog doctor\nfastlog doctor --env-file /etc/fastlog.env\nfastlog doctor --server logs.example.net",
        f"{FINDS_SERVICE}\n\n"
        "The entry that --server sends has the app `fastlog-doctor`, and is stored like any other.\n"
        "Exit code 0: no problem was found; 1: there is one; 2: wrong usage.",
    )
    _add_server(parser, default=None)
    parser.add_argument("--url", help="URL of the dashboard of the server on this machine (as for `fastlog top`)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    _add_flags(parser, *LOG_USES)
    _add_env_file(parser)
    uses = (
        "SERVER_PORT",
        "LISTEN",
        "UNIX_SOCKET",
        "RCVBUF_SIZE",
        *DISK_USES,
        *DASHBOARD_USES,
        *SHIP_USES,
        "SHIP_HOLD_MB",
        "ALERT_COMMAND",
    )
    local = ("url", "env_file", *LOG_USES)
    parser.set_defaults(module="fastlog.commands.doctor", uses=uses, local_flags=local, finds_service=True)


def _add_server(parser: argparse.ArgumentParser, default: str | None = DEFAULT_SERVER) -> None:
    otherwise = SERVER_VARIABLE + (f", or {default}" if default else "")
    parser.add_argument("--server", metavar="HOST", help=f"name or address of the server, or unix:PATH ({otherwise})")
    parser.add_argument(
        "--port",
        dest="SERVER_PORT",
        type=arguments.port,
        metavar="N",
        help=f"UDP port of the server ({SERVER_VARIABLE}, FASTLOG_SERVER_PORT, or 5514)",
    )
    parser.set_defaults(default_server=default, client_uses=CLIENT_USES, local_flags=())


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=arguments.seconds,
        default=10,
        metavar="S",
        help="seconds until an entry counts as not acknowledged (10)",
    )


def _add_env_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="the server's .env, to take its settings from")


def _add_flags(parser: argparse.ArgumentParser, *variables: str) -> None:
    for setting in describe():
        if setting.variable in variables:
            _add_flag(parser, setting, f"FASTLOG_{setting.variable}, or {setting.as_text(setting.default)}")


def _add_flag(parser: argparse._ActionsContainer, setting: Setting, default: str) -> None:
    text = f"{setting.help} ({default})".replace("%", "%%")
    parser.add_argument(*setting.flags, dest=setting.variable, metavar="VALUE", help=text)
