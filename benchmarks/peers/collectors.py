"""The collectors that are compared, and how each is started: a command, its environment, its settings.

All of them receive on a port of the loopback interface, ask for 4 MiB of receive buffer, and append the datagrams to
one file. If a collector has several ways to do that, the fastest one that keeps every datagram was chosen.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.unpacked import Program, configuration_version, find, version

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build/peers"
COMPILER_FLAGS = ["-O3", "-Wall", "-Wextra", "-Werror"]
RECEIVE_BYTES = 4 << 20
WAIT_USEC = 1000  # that `ceiling-waits` waits: fastlog's COALESCE_USEC

# The fields that fastlog's entry of a syslog message has.
RSYSLOG_FIELDS = """
  property(outname="level" name="syslogseverity-text" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
  property(outname="timestamp" name="timegenerated" dateFormat="rfc3339" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="pid" name="procid" format="jsonf")
  property(outname="stamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="source" name="fromhost-ip" format="jsonf")
"""
SYSLOG_NG_FIELDS = (
    "$(format-json level=$LEVEL message=$MSG timestamp=$R_ISODATE app=$PROGRAM host=$HOST facility=$FACILITY"
    " severity=$LEVEL pid=$PID stamp=$S_ISODATE source=$SOURCEIP)"
)


@dataclass(frozen=True)
class Launch:
    """`output`: the file that has the entries when the collector has ended."""

    command: list[str]
    output: Path
    environment: dict[str, str] = field(default_factory=dict)


Starter = Callable[[int, Path], Launch]


def build() -> None:
    """Compiles the C programs that are older than their sources."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for source in HERE.glob("*.c"):
        program = BUILD / source.stem
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            fresh = program.with_suffix(f".{os.getpid()}")
            subprocess.run([os.environ.get("CC", "cc"), *COMPILER_FLAGS, "-o", fresh, source], check=True)
            fresh.replace(program)


def ceiling(port: int, directory: Path) -> Launch:
    output = directory / "out.log"
    return Launch([str(BUILD / "ceiling"), str(port), str(output)], output)


def ceiling_waits(port: int, directory: Path) -> Launch:
    launch = ceiling(port, directory)
    return Launch([*launch.command, str(WAIT_USEC)], launch.output)


def usual(port: int, directory: Path) -> Launch:
    output = directory / "out.log"
    return Launch([sys.executable, str(HERE / "usual.py"), str(port), str(output)], output)


def fastlog(port: int, directory: Path) -> Launch:
    program = os.environ.get("FASTLOG")  # for example another build of it
    settings = {
        "SERVER_HOST": "127.0.0.1",
        "SERVER_PORT": str(port),
        "LOG_DIR": str(directory),
        "LOG_FILENAME": "out.log",
        "MAX_LOG_SIZE_MB": "1000000",  # one file, as for the others
        "DASHBOARD_PORT": "0",
    }
    command = [program] if program else [sys.executable, "-m", "fastlog"]
    return Launch([*command, "serve"], directory / "out.log", settings)


def rsyslog(parse: str = "") -> Starter:
    """`parse`: "json": each message is parsed as JSON, and written if it is valid. "syslog": it is written as JSON with
    the fields that rsyslog's own parser finds."""

    def launch(port: int, directory: Path) -> Launch:
        program = _program("rsyslogd", "rsyslog")
        output = directory / "out.log"
        template = "fields" if parse == "syslog" else "as_received"
        write = (
            f'action(type="omfile" file="{output}" template="{template}"'
            ' ioBufferSize="256k" flushOnTXEnd="off" asyncWriting="off")'
        )
        if parse == "json":
            write = f'action(type="mmjsonparse" cookie="")\n  if $parsesuccess == "OK" then {write}'
        (directory / "rsyslog.conf").write_text(f"""
global(workDirectory="{directory}" maxMessageSize="64k")
module(load="imudp" batchSize="128" timeRequery="8")
module(load="mmjsonparse")
template(name="as_received" type="string" string="%rawmsg%\\n")
template(name="fields" type="list" option.jsonf="on") {{
  {RSYSLOG_FIELDS}
}}
ruleset(name="collect" queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="1024") {{
  {write}
}}
input(type="imudp" address="127.0.0.1" port="{port}" rcvbufSize="{RECEIVE_BYTES}" ruleset="collect")
""")
        command = [program.path, "-n", "-f", str(directory / "rsyslog.conf"), "-i", str(directory / "rsyslog.pid")]
        if program.root:
            command += ["-M", str(program.one("usr/lib/*/rsyslog"))]
        return Launch(command, output, program.environment)

    return launch


def syslog_ng(parse: str = "") -> Starter:
    """`parse`: "json": each message is parsed as JSON, and written if it is valid. "syslog": it is written as JSON with
    the fields that syslog-ng's own parser finds."""

    def launch(port: int, directory: Path) -> Launch:
        program = _program("syslog-ng", "syslog-ng-core")
        output = directory / "out.log"
        template = SYSLOG_NG_FIELDS if parse == "syslog" else "$MSG"
        (directory / "syslog-ng.conf").write_text(f"""@version: {configuration_version(program)}
options {{ threaded(yes); use-dns(no); keep-hostname(yes); flush-lines(100); }};
source incoming {{
  network(transport("udp") ip("127.0.0.1") port({port}) so-rcvbuf({RECEIVE_BYTES})
          {"" if parse == "syslog" else "flags(no-parse)"} log-fetch-limit(1000) log-iw-size(100000));
}};
destination file {{ file("{output}" template("{template}\\n") log-fifo-size(500000)); }};
log {{ source(incoming); {"parser { json-parser(); };" if parse == "json" else ""} destination(file); }};
""")
        files = {"-f": "conf", "-R": "persist", "-p": "pid", "-c": "ctl"}
        command = [program.path, "--foreground", "--no-caps"]
        for flag, suffix in files.items():
            command += [flag, str(directory / f"syslog-ng.{suffix}")]
        if program.root:
            command.append(f"--module-path={program.one('usr/lib/syslog-ng/*/')}")
        return Launch(command, output, program.environment)

    return launch


COLLECTORS: dict[str, Starter] = {
    "ceiling": ceiling,
    "ceiling-waits": ceiling_waits,
    "fastlog": fastlog,
    "rsyslog": rsyslog(),
    "rsyslog-json": rsyslog("json"),
    "syslog-ng": syslog_ng(),
    "syslog-ng-json": syslog_ng("json"),
    "usual-python": usual,
    "rsyslog-syslog": rsyslog("syslog"),
    "syslog-ng-syslog": syslog_ng("syslog"),
}
OF_SYSLOG = ("fastlog", "rsyslog-syslog", "syslog-ng-syslog")  # those that parse syslog; the others are for entries
OF_ENTRIES = tuple(name for name in COLLECTORS if not name.endswith("-syslog"))
MEANING = {
    "ceiling": "C: recvmmsg, memcpy, write; the data is not looked at",
    "ceiling-waits": f"`ceiling` with a wait of {WAIT_USEC} µs before each drain",
    "fastlog": "every entry is checked, stored and accounted for",
    "rsyslog": "imudp to omfile, without parsing",
    "rsyslog-json": "`rsyslog` with mmjsonparse",
    "syslog-ng": "network to file, without parsing",
    "syslog-ng-json": "`syslog-ng` with json-parser",
    "usual-python": "recvfrom, json.loads, a list under a lock, a flush thread",
    "rsyslog-syslog": "`rsyslog` with its own parser of syslog, and a template that writes JSON",
    "syslog-ng-syslog": "`syslog-ng` with its own parser of syslog, and format-json",
}


def versions(names: list[str]) -> dict[str, str]:
    """The versions that rsyslog and syslog-ng report, if they are among the names."""
    found = {}
    for prefix, program, package in (("rsyslog", "rsyslogd", "rsyslog"), ("syslog-ng", "syslog-ng", "syslog-ng-core")):
        if any(name.startswith(prefix) for name in names):
            number = re.search(r"\d+\.\d+(\.\d+)?", version(_program(program, package)))
            found[prefix] = number[0] if number else "unknown"
    return found


def _program(name: str, package: str) -> Program:
    found = find(name, package)
    if found is None:
        raise SystemExit(
            f"{name} is not installed; `tests/helpers/unpack.sh {package}` unpacks it from Debian's packages"
        )
    return found
