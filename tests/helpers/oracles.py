"""rsyslog and syslog-ng as oracles: what each of them makes of a datagram.

Each datagram is sent from an address of its own in 127.0.0.0/8, by which its answer is known.
"""

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.helpers import senders, unpacked
from tests.helpers.programs import Program
from tests.helpers.running import until

FIELDS = ("host", "app", "pid", "message")
RFC5424 = re.compile(rb"<\d{1,3}>1 ")
AT_ONCE = 50  # datagrams that wait in a receive buffer, however small it is


def rsyslog(directory: Path, datagrams: Sequence[bytes]) -> list[dict[str, str] | None]:
    program = senders.found("rsyslogd", "rsyslog")
    port, answers = free_port(), directory / "rsyslog.answers"
    properties = {"from": "fromhost-ip", "host": "hostname", "app": "app-name", "pid": "procid", "message": "msg"}
    fields = r"\",\"".join(rf"{name}\":\"%{name_there}:::json%" for name, name_there in properties.items())
    (directory / "rsyslog.conf").write_text(f"""
global(workDirectory="{directory}" maxMessageSize="64k" net.enableDNS="off" parser.escapeControlCharactersOnReceive="off")
module(load="imudp")
template(name="answer" type="string" string="{{\\"{fields}\\"}}\\n")
ruleset(name="oracle") {{ action(type="omfile" file="{answers}" template="answer") }}
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="oracle")
""")
    command = [program.path, "-n", "-f", directory / "rsyslog.conf", "-i", directory / "rsyslog.pid"]
    if program.root:
        command += ["-M", program.one("usr/lib/*/rsyslog")]
    oracle = Program(command, ready=None, cwd=directory, **program.environment)
    return asked(oracle, answers, [(port, datagram) for datagram in datagrams])


def syslog_ng(directory: Path, datagrams: Sequence[bytes]) -> list[dict[str, str] | None]:
    """Its users choose a port for each of the two forms; here the datagram does."""
    program = senders.found("syslog-ng", "syslog-ng-core")
    bsd_port, port, answers = free_port(), free_port(), directory / "syslog-ng.answers"
    fields = "from=$SOURCEIP host=$HOST app=$PROGRAM pid=$PID message=$MSG"
    (directory / "syslog-ng.conf").write_text(f"""@version: {unpacked.configuration_version(program)}
options {{ use-dns(no); keep-hostname(yes); log-msg-size(65536); time-reopen(1); }};
source s_bsd {{ network(transport("udp") ip("127.0.0.1") port({bsd_port})); }};
source s_new {{ syslog(transport("udp") ip("127.0.0.1") port({port})); }};
destination d_file {{ file("{answers}" template("$(format-json {fields})\\n")); }};
log {{ source(s_bsd); source(s_new); destination(d_file); }};
""")
    command = [program.path, "--foreground", "--no-caps"]
    for flag, suffix in {"-f": "conf", "-R": "persist", "-p": "pid", "-c": "ctl"}.items():
        command += [flag, directory / f"syslog-ng.{suffix}"]
    if program.root:
        command.append(f"--module-path={program.one('usr/lib/syslog-ng/*/')}")
    oracle = Program(command, ready=None, cwd=directory, **program.environment)
    sent = [(port if RFC5424.match(datagram) else bsd_port, datagram) for datagram in datagrams]
    return asked(oracle, answers, sent)


def asked(oracle: Program, answers: Path, sent: Sequence[tuple[int, bytes]]) -> list[dict[str, str] | None]:
    """The fields of each datagram; without those that say nothing. None: the oracle did not take it."""
    try:
        for port in {port for port, _ in sent}:
            until_bound(port)
        for first in range(0, len(sent), AT_ONCE):
            for number, (port, datagram) in enumerate(sent[first : first + AT_ONCE], first):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.bind((address(number), 0))
                    sender.sendto(datagram, ("127.0.0.1", port))
            until(lambda: not any(queued(port) for port, _ in sent), "all datagrams received")
        oracle.end()
    finally:
        oracle.close()
    found: list[dict[str, str] | None] = [None] * len(sent)
    for line in answers.read_bytes().decode("utf-8", "surrogateescape").splitlines():
        answer = json.loads(line, strict=False)
        octets = [int(octet) for octet in answer.pop("from").split(".")]
        number = (octets[2] << 8 | octets[3]) - 1
        if answer.get("host") == address(number):  # it knows none but the sender's
            del answer["host"]
        found[number] = {name: value.strip() for name, value in answer.items() if value.strip() not in ("", "-")}
    return found


def address(number: int) -> str:
    return f"127.10.{(number + 1) >> 8}.{(number + 1) & 255}"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rows(port: int) -> list[list[str]]:
    """The kernel's rows for a UDP port."""
    table = [row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return [row for row in table if int(row[1].partition(":")[2], 16) == port]


def queued(port: int) -> int:
    return sum(int(row[4].partition(":")[2], 16) for row in rows(port))


def until_bound(port: int) -> None:
    until(lambda: bool(rows(port)), f"a program that listens on port {port}/udp")
