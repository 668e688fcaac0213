"""Which engine `SHIP_TO` names."""

import re
import socket
from importlib import import_module

from fastlog.config import NODE_PATTERN, Settings
from fastlog.errors import ConfigError
from fastlog.ship.refused import RefusedFile
from fastlog.ship.sink import Sink


def make_sink(settings: Settings, refused: RefusedFile, *, create: bool = False) -> Sink:
    """Its sink. `create`: makes the stream if there is none. Raises ConfigError.

    An engine's module is imported when it is used: that of NATS needs a package of its own.
    """
    node = settings.ship_node or node_of_host()
    if engine_remembers(settings):
        sink: Sink = import_module("fastlog.ship.nats").NatsSink(settings, node, create)
    else:
        sink = import_module("fastlog.ship.bulk").BulkSink(settings, node, refused)
    return sink


def engine_remembers(settings: Settings) -> bool:
    """Whether the engine says where to continue. Otherwise the note beside the log does."""
    return settings.ship_to.partition("://")[0].lower() in ("nats", "tls")


def node_of_host() -> str:
    """The host's name. Raises ConfigError if that cannot name a node."""
    name = socket.gethostname()
    if not name or not re.fullmatch(NODE_PATTERN, name):
        raise ConfigError(f"the host's name {name!r} cannot name a node; --node or FASTLOG_SHIP_NODE names it")
    return name
