"""Senders of other projects, as their users run them: with a configuration out of docs/senders.md, and each as a process
of its own.

`make senders` unpacks Debian's packages and those of Node.js. Where one is missing the tests that need it are skipped,
except in CI, where they fail.
"""

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.helpers import unpacked
from tests.helpers.programs import Program, run_to_its_end
from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC, until

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "senders.md").read_text()
NODE_MODULES = ROOT / "build/node/node_modules"
CARD_REFUSED = ["-t", "shop", "-i", "-p", "user.err", "card refused"]  # the message of the recipes, for `logger`


def recipe(title: str, document: str = DOCUMENT) -> dict[str, list[str]]:
    """The blocks of code below a heading, up to the next one, by their language."""
    section = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", document, re.MULTILINE | re.DOTALL)
    assert section, f"there is no recipe for {title}"
    blocks: dict[str, list[str]] = {}
    for language, code in re.findall(r"^```(\S+)\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL):
        blocks.setdefault(language, []).append(code)
    return blocks


def titles() -> list[str]:
    """The headings below which the document shows what a line becomes."""
    headings = re.findall(r"^##+ (.*)$", DOCUMENT, re.MULTILINE)
    return [title for title in headings if "json" in recipe(title)]


def addressed(code: str, port: int) -> str:
    return code.replace("5514", str(port))


# What differs from one run to the next


def shape(value: object, key: str = "") -> object:
    """What a line and the line in the document have in common: all but times, numbers, paths and the host's name."""
    if isinstance(value, dict):
        return [(name, shape(below, name)) for name, below in value.items()]
    if not isinstance(value, str):
        return value if key == "order" else type(value)
    if key in ("timestamp", "received", "@timestamp"):
        return re.sub(r"\d", "0", value)
    if key in ("path", "file", "interpreter"):
        return re.sub(r"\d", "", Path(value).name)
    value = value.replace(socket.gethostname(), "web1")
    value = re.sub(r"\b[A-Z][a-z]{2}(\b| +\d+\b)(?=[ /]+\d)", "Mmm 0", value)
    return re.sub(r"\d+", "0", value)


def is_recent(moment: str) -> bool:
    """True for a time of the last minutes; one read in a wrong zone is hours away."""
    return abs(datetime.now(UTC) - datetime.fromisoformat(moment)) < timedelta(minutes=5)


# The programs


def needs(program: str, package: str):
    missing = unpacked.find(program, package) is None
    return pytest.mark.skipif(missing and os.environ.get("CI") != "true", reason=f"no {program}; make senders")


def needs_java(package: str):
    missing = shutil.which("javac") is None or not any(unpacked.jars(package))
    return pytest.mark.skipif(
        missing and os.environ.get("CI") != "true", reason=f"no javac or no {package}; make senders"
    )


# Also under CI: npm's registry, unlike Debian's and PyPI's, is not within reach everywhere.
needs_node = pytest.mark.skipif(not NODE_MODULES.exists(), reason="no Node.js packages; make senders")


def found(program: str, package: str) -> unpacked.Program:
    known = unpacked.find(program, package)
    assert known, f"no {program}; tests/helpers/unpack.sh {package}"
    return known


class Relay(Program):
    """rsyslog or syslog-ng. It takes what `logger` writes to the unix socket `local`, as a system's syslog daemon takes
    what is written to /dev/log, and sends it on as the configuration says."""

    def __init__(self, command: list[object], directory: Path, environment: dict[str, str]) -> None:
        self.local = directory / "dev-log"
        super().__init__(command, ready=None, cwd=directory, **environment)
        wait_for_unix_socket(self.local)

    def log(self, *arguments: object, lines: str = "") -> None:
        """What `logger` writes with these arguments; or each of the lines, from its standard input."""
        command = ["logger", "-d", "-u", self.local, *arguments]
        subprocess.run([str(part) for part in command], input=lines.encode(), check=True, timeout=PATIENCE_SEC)


def rsyslog(directory: Path, configuration: str) -> Relay:
    program = found("rsyslogd", "rsyslog")
    (directory / "rsyslog.conf").write_text(
        f'module(load="imuxsock" SysSock.Use="off")\n'
        f'input(type="imuxsock" Socket="{directory}/dev-log" RateLimit.Interval="0")\n{configuration}'
    )
    command = [program.path, "-n", "-f", directory / "rsyslog.conf", "-i", directory / "rsyslog.pid"]
    if program.root:
        command += ["-M", program.one("usr/lib/*/rsyslog")]
    return Relay(command, directory, program.environment)


def syslog_ng(directory: Path, configuration: str) -> Relay:
    program = found("syslog-ng", "syslog-ng-core")
    (directory / "syslog-ng.conf").write_text(
        f'@version: {unpacked.configuration_version(program)}\nsource s_src {{ unix-dgram("{directory}/dev-log"); }};\n{configuration}'
    )
    command = [program.path, "--foreground", "--no-caps"]
    for flag, suffix in {"-f": "conf", "-R": "persist", "-p": "pid", "-c": "ctl"}.items():
        command += [flag, directory / f"syslog-ng.{suffix}"]
    if program.root:
        command.append(f"--module-path={program.one('usr/lib/syslog-ng/*/')}")
    return Relay(command, directory, program.environment)


def wait_for_unix_socket(path: Path) -> None:
    """Returns when a datagram can be sent to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        until(lambda: probe.connect_ex(str(path)) == 0, f"a program that receives at {path}")


class WebServer(Program):
    """nginx or haproxy, on a socket that listens already, so that requests wait until it serves them."""

    def __init__(self, command: list[object], directory: Path, listener: socket.socket, **environment: str) -> None:
        self.port = listener.getsockname()[1]
        listener.setblocking(False)  # as those are that they open themselves
        super().__init__(command, ready=None, cwd=directory, pass_fds=[listener.fileno()], **environment)

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SEC)
        try:
            connection.request("GET", path, headers={"User-Agent": "curl/7.88.1"})
            return connection.getresponse().status
        finally:
            connection.close()


def nginx(directory: Path, configuration: str, listener: socket.socket) -> WebServer:
    program = found("nginx", "nginx")
    temporary = "".join(
        f"{name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    port = listener.getsockname()[1]
    served = f"{temporary}server {{ listen 127.0.0.1:{port}; root /srv/www; }}\n"
    (directory / "nginx.conf").write_text(
        f"daemon off;\npid {directory}/nginx.pid;\nevents {{}}\n"
        + configuration.replace("http {\n", f"http {{\n{served}")
    )
    command = [program.path, "-p", directory, "-c", directory / "nginx.conf", "-e", directory / "nginx.start"]
    return WebServer(command, directory, listener, NGINX=f"{listener.fileno()};", **program.environment)


def haproxy(directory: Path, configuration: str, listener: socket.socket) -> WebServer:
    program = found("haproxy", "haproxy")
    (directory / "haproxy.cfg").write_text(
        f"{configuration}\nfrontend web\n    bind fd@{listener.fileno()}\n    http-request return status 200\n"
    )
    return WebServer([program.path, "-f", directory / "haproxy.cfg"], directory, listener, **program.environment)


def python(directory: Path, code: str) -> None:
    (directory / "shop.py").write_text(code)
    run_to_its_end([sys.executable, "shop.py"], directory)


def node(directory: Path, code: str) -> None:
    (directory / "shop.js").write_text(code)
    run_to_its_end(["node", "shop.js"], directory, NODE_PATH=str(NODE_MODULES))


def php(directory: Path, code: str) -> None:
    program = found("php", "php-cli")
    libraries = f"{unpacked.UNPACKED / 'php-monolog/usr/share/php'}:/usr/share/php"
    (directory / "shop.php").write_text(f"<?php\nrequire 'Monolog/autoload.php';\n{code}")
    options = {"include_path": libraries, "display_errors": "stderr", "extension": "sockets"}
    if program.root:
        options["extension_dir"] = program.one("usr/lib/php/2*")
    command = [program.path, "-n", *(f"-d{name}={value}" for name, value in options.items()), "shop.php"]
    run_to_its_end(command, directory, **program.environment)


def java(directory: Path, package: str, code: str, *options: str) -> None:
    """Compiles and runs the class Shop."""
    (directory / "Shop.java").write_text(code)
    path = ":".join(str(jar) for jar in unpacked.jars(package))
    run_to_its_end(["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", path, *options, "Shop.java"], directory)


def shell(directory: Path, code: str) -> None:
    subprocess.run(["sh", "-ec", code], cwd=directory, env=BASE_ENVIRONMENT, check=True, timeout=PATIENCE_SEC)
