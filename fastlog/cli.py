"""The command line: parses arguments, reads the settings, calls the command, and returns its exit code.

A command is imported when it runs, so that none of them waits for the imports of another.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from fastlog.config import Settings, in_force, missing_program
from fastlog.early import take_signals
from fastlog.errors import (
    ConfigError,
    FastlogError,
    StandardError,
    StartError,
    escape_unencodable,
    flush_output,
    messages,
    say,
    wait_for_reader,
)
from fastlog.flags import LOG_USES, SERVE, make_parser
from fastlog.service import find_log, log_of, service_sources
from fastlog.setting_sources import (
    DEFAULT,
    FLAG,
    PREFIX,
    SERVER_VARIABLE,
    Origin,
    Source,
    load,
    load_for_server,
    misspelt,
    read_env_file,
    server_address,
)

DEFAULT_ENV_FILE = Path(".env")  # read by `fastlog serve` if it is there

NOT_LINUX = f"this command needs Linux, and this is {sys.platform}; programs can log from here with fastlog.Client"
NOT_COMPILED = (
    "this command needs fastlog's compiled modules, which were not built for want of a C compiler. On Debian: "
    "apt install gcc python3-dev zlib1g-dev; on Fedora: dnf install gcc python3-devel zlib-devel; on Alpine: "
    "apk add gcc musl-dev linux-headers python3-dev zlib-dev. Then install fastlog anew: "
    "pip install --force-reinstall --no-cache-dir fastlog-udp"
)
NOT_ON_WINDOWS = ("fcntl", "grp", "pwd", "resource", "termios")


def main(words: list[str] | None = None) -> int:
    escape_unencodable()
    try:
        code = _run_command(words)
    except SystemExit as end:  # of the parser, which has printed something
        code = end.code if isinstance(end.code, int) else 0
    return code if flush_output() else code or 1


def _run_command(words: list[str] | None) -> int:
    options = make_parser().parse_args(words)
    try:
        if options.module is None:
            return int(options.show_help(options))
        return _serve(options) if options.module == SERVE else _run(options)
    except FastlogError as error:
        say(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        say(_what_is_missing(error))
        return StartError.exit_code
    except KeyboardInterrupt:
        return 130


def _what_is_missing(error: ModuleNotFoundError) -> str:
    """What to install for a command whose module is not there. Raises the error if it is of another kind."""
    package, _, module = (error.name or "").rpartition(".")
    if package.startswith("fastlog") and module.startswith("_"):
        return NOT_COMPILED if sys.platform == "linux" else NOT_LINUX
    if error.name in NOT_ON_WINDOWS:
        return NOT_LINUX
    raise error


def _serve(options: argparse.Namespace) -> int:
    if sys.platform != "linux":
        raise StartError(NOT_LINUX)
    take_signals()
    messages.never_wait()
    sys.stderr = StandardError()
    sources = [_flags(options), Source("environment", os.environ, plain_names=True)]
    if options.env_file or (os.path.isfile(DEFAULT_ENV_FILE) and not options.no_env_file):
        sources.append(read_env_file(options.env_file or DEFAULT_ENV_FILE))
    settings, origins = load_for_server(sources)
    unknown = misspelt(sources)
    if unknown:
        say(f"unknown variables are ignored: {', '.join(unknown)}")
    if settings.listen:
        given = [str(origins[name].name) for name in ("SERVER_HOST", "SERVER_PORT") if origins[name] != DEFAULT]
        if given:
            say(f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} ignored, since LISTEN is set")
    if options.check:
        for variable, value in in_force(settings).items():
            print(f"{variable}={value}  # {origins[variable]}")
        if problem := missing_program(settings):
            raise ConfigError(problem)
        return 0
    from fastlog.server.server import Server

    return Server(settings).run()


def _run(options: argparse.Namespace) -> int:
    """Runs a command other than `serve`, with the settings that it uses."""
    wait_for_reader()
    given = vars(options)
    if "check" in given:
        options.check(options)
    sources = [_flags(options), Source("environment", os.environ, plain_names=given.get("plain_names", False))]
    if "server" in given:
        sources.insert(1, _choose_server(options))
    if given.get("env_file"):
        sources.append(read_env_file(options.env_file))
    is_client = given.get("server") is not None
    uses = options.client_uses if is_client else options.uses
    settings, origins = load(sources, uses)
    if is_client and not settings.server_port:
        name, source = origins["SERVER_PORT"]
        raise ConfigError(f"{name}='0' ({source}): no server listens on port 0; --port names another")
    if _looks_at_service(options, settings, origins):
        sources += service_sources()
        settings, origins = load(sources, uses)
    if given.get("finds_service") and "LOG_DIR" in uses and not given.get("files"):
        # `doctor` asks the server itself.
        settings = find_log(settings, origins, sources if set(uses) == set(LOG_USES) else None)
    return int(import_module(options.module).run(options, settings))


def _flags(options: argparse.Namespace) -> Source:
    flags = {name: value for name, value in vars(options).items() if name.isupper() and value is not None}
    return Source(FLAG, flags, plain_names=True)


def _choose_server(options: argparse.Namespace) -> Source:
    """Sets the server that a client sends to, if no flag names it. Returns the port that FASTLOG_SERVER gives it."""
    given = vars(options)
    port = None
    if options.server is None and not any(given.get(flag) for flag in options.local_flags):
        options.server, port = server_address(os.environ)
        options.server = options.server or options.default_server
    return Source(SERVER_VARIABLE, {PREFIX + "SERVER_PORT": str(port)} if port else {}, plain_names=False)


def _looks_at_service(options: argparse.Namespace, settings: Settings, origins: Mapping[str, Origin]) -> bool:
    """Whether the command takes what it is not told from the service of this machine."""
    given = vars(options)
    if not given.get("finds_service") or given.get("server") or given.get("env_file") or given.get("url"):
        return False
    if given.get("files"):
        return False
    needs_only_log = set(options.uses) == set(LOG_USES)
    return not needs_only_log or (origins["LOG_DIR"] == DEFAULT and not os.path.exists(log_of(settings)))


if __name__ == "__main__":
    sys.exit(main())
