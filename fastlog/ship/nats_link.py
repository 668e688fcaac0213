"""A connection to NATS, made anew when it is needed and there is none. nats-py runs in a thread with an event loop of
its own, so that the server's pings are answered while nobody asks for anything.

One request is under way at a time. Whatever ends the connection fails the request at once; nats-py itself would wait
for its time-out. A request whose answer does not come in time ends the connection: behind it may be a dead host, and
another server of the cluster may answer the next one. nats-py's own reconnecting is not used: it would send again what
it has in its buffers, at a time that we do not choose.
"""

import asyncio
import contextlib
import ipaddress
import random
import ssl
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from fastlog.errors import ConfigError, FastlogError
from fastlog.ship.nats_address import NatsAddress, NatsServer
from fastlog.ship.sink import RefusedError, UnavailableError

CONNECT_SEC = 2  # for each step of connecting to one server: a host that is there answers much faster
CONNECT_ALL_SEC = 10  # for all steps with one server: name, TCP, TLS, greeting
ANSWER_SEC = 5  # for an answer, which takes milliseconds; a server of a cluster that has no leader gives none
CLOSE_SEC = 1  # for the end of a connection, which a dead host would hold up
PING_SEC = 20  # between pings: middleboxes forget connections that are silent for longer
PAYLOAD_MAX_BYTES = 1 << 20  # of a message, the server's own default, until it tells
DISCOVERED_MAX = 100  # servers that a cluster may tell us of: more than any has

T = TypeVar("T")


class Answer(NamedTuple):
    status: str | None  # of NATS itself; "503": nobody takes this subject
    data: bytes


class Link:
    """`request` may be called by one thread at a time. Errors: UnavailableError, and RefusedError if the first
    connection ever is refused; a later one may heal, since its first was not."""

    def __init__(self, address: NatsAddress, name: str) -> None:
        self._address = address
        self._name = name
        self._tls = address.tls_context()
        self._client: _Client | None = None  # the one that is connected
        self._discovered: list[NatsServer] = []
        self._answer: asyncio.Future[Msg] | None = None  # of the request that is under way
        self._inbox = ""
        self._requests = 0
        self.connections = 0  # made until now
        self.server = "NATS"  # that of the newest one, in words
        self.max_payload = PAYLOAD_MAX_BYTES  # what it takes in a message, headers included
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_DaemonThreads())
        self._thread = threading.Thread(target=self._run, name="fastlog-nats", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    @property
    def clustered(self) -> bool:
        return self._client is not None and self._client.clustered

    def request(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        return self._in_loop(self._request(subject, payload, headers))

    def connect(self) -> None:
        """Does nothing if there is a connection."""
        self._in_loop(self._connected())

    def close(self) -> None:
        """Ends the connection and the thread, at once if need be."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(UnavailableError):
            self._in_loop(self._disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.run_until_complete(_cancel_all())
        self._loop.close()

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:  # a signal ends the wait, and the work with it
            future.cancel()

    # What follows runs in the loop's thread.

    async def _request(self, subject: str, payload: bytes, headers: dict[str, str] | None) -> Answer:
        client = await self._connected()
        self._requests += 1
        self._answer = self._loop.create_future()
        try:
            async with asyncio.timeout(ANSWER_SEC):
                await client.publish(subject, payload, f"{self._inbox}.{self._requests}", headers)
                message = await self._answer
        except TimeoutError as error:
            await self._disconnect()
            raise UnavailableError(f"{self.server} has not answered for {ANSWER_SEC} seconds") from error
        except errors.Error as error:
            await self._disconnect()
            raise UnavailableError(_words(error)) from error
        finally:
            self._answer = None
        status = message.headers.get("Status") if message.headers else None
        return Answer(status, message.data)

    async def _connected(self) -> "_Client":
        if self._client is not None and self._client.is_connected:
            return self._client
        await self._disconnect()
        problems = []
        for server in self._candidates():
            try:
                self._client = await self._connect_to(server)
            except Exception as error:  # of libraries that read keys and certificates, too
                problems.append(self._problem(server, error))
            else:
                self._discovered = self._servers_of_cluster(server)
                self.server = f"nats-server {self._client.version} at {server}"
                self.max_payload = self._client.max_payload
                self.connections += 1
                return self._client
        # What an administrator has to mend is worth more words than a server that is away.
        refused = next((problem for problem in problems if isinstance(problem, RefusedError)), None)
        if refused is not None and self.connections == 0:
            raise refused
        raise UnavailableError(str(refused or problems[0]))

    def _candidates(self) -> list[NatsServer]:
        """All servers to try, each kind in random order, so that many shippers spread over a cluster."""
        given = self._address.servers
        return random.sample(given, len(given)) + random.sample(self._discovered, len(self._discovered))

    async def _connect_to(self, server: NatsServer) -> "_Client":
        self._address.check_credentials()
        client = _Client(self._address.tls_needed)

        async def failed(error: Exception) -> None:
            client.error = error
            if "permissions violation" in str(error).lower():  # the server says it so, and answers nothing else
                self._fail(error)

        async def ended() -> None:
            if client is self._client:
                self._fail(client.last_error or "the connection was lost")

        try:
            async with asyncio.timeout(CONNECT_ALL_SEC):
                await client.connect(**self._options(server), error_cb=failed, disconnected_cb=ended)
                self._inbox = client.new_inbox()
                await client.subscribe(f"{self._inbox}.*", cb=self._answered)
        except errors.NoServersError as error:
            raise client.error or error from error
        except BaseException:
            await _end(client)
            raise
        return client

    def _options(self, server: NatsServer) -> dict[str, Any]:
        """For nats-py: one server, tried at once, and not again by itself."""
        return {
            "servers": [f"nats://{server}"],
            "name": self._name,
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "connect_timeout": CONNECT_SEC,
            "ping_interval": PING_SEC,
            "tls": self._tls,
            "tls_hostname": server.tls_name or server.host,
            "user": server.user if server.password is not None else None,
            "password": server.password,
            "token": server.user if server.password is None else None,
            "user_credentials": self._address.credentials or None,
        }

    def _fail(self, error: Exception | str) -> None:
        """Fails the request that is under way, if there is one."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(UnavailableError(_words(error)))

    async def _answered(self, message: Msg) -> None:
        if message.subject.endswith(f".{self._requests}") and self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await _end(client)

    def _servers_of_cluster(self, asked: NatsServer) -> list[NatsServer]:
        """Those that a server has told of: its cluster lives on when the server of SHIP_TO does not."""
        found = []
        for url in self._client.discovered_servers[:DISCOVERED_MAX] if self._client else ():
            if url.hostname is not None:
                name = (asked.tls_name or asked.host) if _is_address(url.hostname) else None
                found.append(asked._replace(host=url.hostname, port=url.port or asked.port, tls_name=name))
        return found

    def _problem(self, server: NatsServer, error: Exception) -> FastlogError | UnavailableError:
        text = _words(error)
        if "authorization violation" in text.lower():
            return RefusedError(f"NATS at {server} refuses the user, password, token or credentials")
        if isinstance(error, _NoTlsError):
            return RefusedError(f"NATS at {server} does not offer TLS, so nothing was sent to it")
        if isinstance(error, ssl.SSLCertVerificationError):
            return RefusedError(f"the certificate of NATS at {server} is not trusted: {error.verify_message}")
        if isinstance(error, (OSError, TimeoutError, errors.Error)):
            return UnavailableError(f"NATS at {server} is not there: {text}")
        return RefusedError(text if isinstance(error, ConfigError) else f"cannot connect to NATS at {server}: {text}")


class _NoTlsError(errors.Error):
    """The server wants no TLS, and we do."""


class _Client(Client):
    def __init__(self, tls_needed: bool) -> None:
        super().__init__()
        self._tls_needed = tls_needed
        self.error: Exception | None = None  # the newest

    @property
    def version(self) -> str:
        return str(self._server_info.get("version", "of unknown version"))

    @property
    def clustered(self) -> bool:
        return bool(self._server_info.get("cluster"))

    def _connect_command(self) -> bytes:
        # What is sent next has the password in it. nats-py encrypts it only if the server asks for that.
        if self._tls_needed and not self._server_info.get("tls_required"):
            raise _NoTlsError
        return super()._connect_command()


class _DaemonThreads(ThreadPoolExecutor):
    """For names that are looked up: the end of the program does not wait for a name server that is away."""

    def submit(self, work: Callable[..., T], /, *arguments: Any, **more: Any) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work(*arguments, **more))
            except BaseException as error:  # handed to the waiting thread, whatever it is
                future.set_exception(error)

        threading.Thread(target=run, name="fastlog-names", daemon=True).start()
        return future


async def _end(client: _Client) -> None:
    """Ends a connection, also one to a host that takes nothing any more."""
    if client.is_connected:
        with contextlib.suppress(Exception):  # it is at its end, and nobody can do anything about how
            async with asyncio.timeout(CLOSE_SEC):
                await client.close()
    # nats-py cannot give up what is unsent, and does not end a connection that it could not greet.
    writer = getattr(client._transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def _words(error: Exception | str) -> str:
    text = (getattr(error, "strerror", None) or str(error)) if isinstance(error, Exception) else error
    return text.removeprefix("nats: ").strip("'") or type(error).__name__
