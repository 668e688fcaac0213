"""Uses an installed fastlog as a new user would: serve, send, a program that logs, tail, and the server's account.

    python -m wheels.smoke PYTHON...

PYTHON is the command that runs the Python which fastlog is installed for; it may be an emulator with arguments.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

PATIENCE_SEC = 60  # an emulated processor is slow
PROGRAM = """
import logging, sys
from fastlog import Client, Handler
port = int(sys.argv[1])
handler = Handler("127.0.0.1", port=port, app="smoke")
logging.basicConfig(level="INFO", handlers=[handler])
logging.error("from logging", extra={"order": 1093})
handler.close()
client = Client("127.0.0.1", port=port, app="smoke")
client.send("ERROR", "from the client", order=1094)
client.close()
assert client.stats().unacknowledged == 0, client.stats()
"""
SENT = {"from the shell", "from logging", "from the client"}


def use(python: list[str], directory: Path) -> None:
    settings = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": "0", "DASHBOARD_PORT": "0", "LOG_DIR": str(directory)}
    environment = {**os.environ, **{f"FASTLOG_{name}": value for name, value in settings.items()}}

    def fastlog(*arguments: str) -> str:
        command = [*python, "-m", "fastlog", *arguments]
        return subprocess.run(
            command, env=environment, cwd=directory, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE_SEC
        ).stdout

    command = [*python, "-m", "fastlog", "serve"]
    with subprocess.Popen(command, env=environment, cwd=directory, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            ready = next(line for line in server.stderr if line.startswith("fastlog: ready "))
            found = re.search(r"udp=\S*:(\d+) http=(\S+)", ready)
            assert found, ready
            port, dashboard = found.groups()
            fastlog("send", "from the shell", "--level", "ERROR", "--port", port)
            subprocess.run([*python, "-c", PROGRAM, port], cwd=directory, check=True, timeout=PATIENCE_SEC)
            lines = [json.loads(line) for line in fastlog("tail", "-n", "all", "--json").splitlines()]
            assert {line["message"] for line in lines} == SENT, lines
            with urllib.request.urlopen(f"{dashboard.rstrip('/')}/stats", timeout=PATIENCE_SEC) as answer:
                assert json.load(answer)
            server.send_signal(signal.SIGTERM)
            account = server.stderr.read()
            assert server.wait(PATIENCE_SEC) == 0, account
            assert f"received {len(SENT)} entries" in account, account
        finally:
            server.kill()


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        use(sys.argv[1:], Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
