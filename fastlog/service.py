"""The service of this machine, for the commands that look at it: its settings, and where it writes its log.

systemd says what the unit reads. Where systemd cannot be asked, the files are looked at that the unit in
contrib/systemd names. A server that is no service says by its dashboard where it writes.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fastlog.addresses import dashboard_url
from fastlog.config import Settings
from fastlog.errors import ConfigError, say
from fastlog.file_systems import who_may_read
from fastlog.setting_sources import DEFAULT, Origin, Source, load, read_env_file

UNIT = "fastlog.service"
ENV_FILES = ("/etc/default/fastlog", "/etc/fastlog.env")  # of contrib/systemd/fastlog.service: the last one counts
SYSTEM_LOG_DIR = "/var/log/fastlog"  # where the server writes under that unit, and in the container
DASHBOARD_USES = ("DASHBOARD_HOST", "DASHBOARD_PORT", "DASHBOARD_TOKEN")
ANSWER_SEC = 2.0  # time for systemd to answer: it takes some milliseconds


def service_sources() -> list[Source]:
    """Where the settings of the service come from, the first one counts; empty without a service. A file that this
    user may not read is named on standard error."""
    files, variables = _unit() or (ENV_FILES, {})
    sources = []
    for path in reversed(files):
        if os.path.isfile(path):
            try:
                sources.append(read_env_file(Path(path)))
            except ConfigError as error:
                say(f"{error}; it has settings of the service")
    return [*sources, Source(UNIT, variables, plain_names=True)]


def _unit() -> tuple[Sequence[str], Mapping[str, str]] | None:
    """The files that the unit reads, and the variables that it sets, by systemd's word; None if there is no answer."""
    import shlex  # here, since most runs do not ask
    import subprocess

    command = ["systemctl", "show", UNIT, "--property=LoadState,Environment,EnvironmentFiles"]
    try:
        answer = subprocess.run(  # noqa: S603 - no word of it comes from outside
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWER_SEC, check=True
        ).stdout.decode(errors="surrogateescape")
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.partition("=")[::2] for line in answer.splitlines()]
    if ("LoadState", "loaded") not in lines:
        return None
    files = [text.rpartition(" (ignore_errors=")[0] for name, text in lines if name == "EnvironmentFiles"]
    try:
        words = [word for name, text in lines if name == "Environment" for word in shlex.split(text)]
    except ValueError:  # a quotation that a shell would not understand
        words = []
    return files, dict(word.partition("=")[::2] for word in words)


def find_log(settings: Settings, origins: Mapping[str, Origin], sources: Sequence[Source] | None) -> Settings:
    """The settings with the directory of the log of this machine's server, where no source names one and the default
    directory has none. With `sources`, which have the dashboard's address, a server that runs is asked as well."""
    log = log_of(settings)
    if origins["LOG_DIR"] != DEFAULT or os.path.exists(log):
        return settings
    system_log = Path(SYSTEM_LOG_DIR, settings.log_filename)
    try:
        system_log.stat()
        found: Path | None = system_log
    except PermissionError:
        say(f"{system_log}: permission denied; {who_may_read(system_log)} may read it")
        return settings
    except OSError:
        found = _log_of_running_server(sources) if sources else None
    if found is None:
        return settings
    say(f"there is no {log}; using {found}")
    return msgspec.structs.replace(settings, log_dir=str(found.parent), log_filename=found.name)


def log_of(settings: Settings) -> Path:
    return Path(settings.log_dir, settings.log_filename)


def _log_of_running_server(sources: Sequence[Source]) -> Path | None:
    """The log of the server that answers at the dashboard's address, if it is on this machine."""
    from fastlog.stats_client import StatsClient, UnreachableError

    with contextlib.suppress(ConfigError, UnreachableError):
        settings, _ = load(sources, DASHBOARD_USES)
        url = dashboard_url(settings.dashboard_host, settings.dashboard_port)
        log = Path(StatsClient(url, settings.dashboard_token).stats().disk.log_file)
        if os.path.isfile(log):
            return log
    return None
