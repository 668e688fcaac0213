"""What SHIP_TO, SHIP_CREDENTIALS and SHIP_CA say about NATS: its servers, who we are there, and the stream."""

import re
import ssl
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from fastlog.addresses import join_host_port
from fastlog.config import Settings
from fastlog.errors import ConfigError
from fastlog.file_systems import open_to_read

NATS_PORT = 4222
STREAM_NAME_MAX_BYTES = 255  # the server's own limit
CREDENTIALS_MAX_BYTES = 65536  # of a .creds file; real ones have about one thousand

_STREAM = re.compile(r"[^\s.*>/\\?#]+")  # what a server takes as the name of a stream, without a URL's own characters
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_JWT = b"-----BEGIN NATS USER JWT-----"
_SEED = b"-----BEGIN USER NKEY SEED-----"


class NatsServer(NamedTuple):
    """`tls_name`: the name in its certificate, where that is not the host."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None  # a user without a password is a token
    tls_name: str | None = None

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


class NatsAddress(NamedTuple):
    servers: list[NatsServer]
    stream: str
    tls_needed: bool
    credentials: str  # the path of a .creds file, or empty
    ca: str  # the path of a PEM file, or empty

    def tls_context(self) -> ssl.SSLContext:
        """Raises ConfigError if there are no certificates in the file of SHIP_CA."""
        try:
            return ssl.create_default_context(cafile=self.ca or None)
        except OSError as error:  # ssl.SSLError is one, too
            reason = error.strerror or "there is no certificate in it"
            raise ConfigError(f"SHIP_CA={self.ca} cannot be used: {reason}") from error

    def check_credentials(self) -> None:
        """Raises ConfigError unless the file of SHIP_CREDENTIALS is one of NATS: nats-py would read on for ever."""
        if not self.credentials:
            return
        try:
            with open(open_to_read(self.credentials), "rb") as file:
                text = file.read(CREDENTIALS_MAX_BYTES)
        except OSError as error:
            raise ConfigError(f"SHIP_CREDENTIALS={self.credentials} cannot be read: {error.strerror}") from error
        if _JWT not in text or _SEED not in text[text.index(_JWT) :]:
            raise ConfigError(
                f"SHIP_CREDENTIALS={self.credentials} is not a .creds file of NATS: it needs {_JWT.decode()} and "
                f"{_SEED.decode()}"
            )


def nats_address(settings: Settings) -> NatsAddress:
    """What the settings say. Raises ConfigError, whose text never has a password in it."""
    scheme, _, rest = settings.ship_to.partition("://")
    place, _, stream = rest.partition("/")
    if not _STREAM.fullmatch(stream) or len(stream.encode()) > STREAM_NAME_MAX_BYTES:
        raise ConfigError(
            f"SHIP_TO names the stream {stream!r}; the name of a stream has no spaces, points, slashes, `*`, `>` or `?`"
        )
    credentials = str(Path(settings.ship_credentials)) if settings.ship_credentials else ""
    address = NatsAddress(
        _servers(place), stream, scheme.lower() == "tls" or bool(settings.ship_ca), credentials, settings.ship_ca
    )
    address.check_credentials()
    return address


def _servers(place: str) -> list[NatsServer]:
    """The servers, of which one may give user and password for those that have none of their own."""
    servers = []
    for item in place.split(","):
        who, _, where = item.rpartition("@")
        match = _HOST.fullmatch(where.strip())
        if match is None or not 0 < int(match[2] or NATS_PORT) < 65536:
            raise ConfigError(f"SHIP_TO has {where.strip()!r} where HOST or HOST:PORT belongs")
        user, colon, password = who.strip().partition(":")
        server = NatsServer(match[1].strip("[]"), int(match[2] or NATS_PORT))
        if user:
            server = server._replace(user=unquote(user), password=unquote(password) if colon else None)
        servers.append(server)
    known = next((server for server in servers if server.user is not None), None)
    if known is None:
        return servers
    return [
        server if server.user is not None else server._replace(user=known.user, password=known.password)
        for server in servers
    ]
