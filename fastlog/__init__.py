"""fastlog: structured logs over UDP, collected cheaply; errors are made durable and acknowledged.

Programs log with `Client`, or through `Handler`, `Logger`, `structlog_processor` or `loguru_sink`. The names below are
public, and so is `fastlog.testing`; the other modules are not. ARCHITECTURE.md describes them.
"""

from typing import TYPE_CHECKING

from fastlog.early import prepare_command

if TYPE_CHECKING:
    from fastlog.client.client import Client
    from fastlog.client.handler import Handler, Logger
    from fastlog.client.integrations import loguru_sink, structlog_processor
    from fastlog.client.stats import ClientStats

__version__ = "0.1.0"
__all__ = ["Client", "ClientStats", "Handler", "Logger", "loguru_sink", "structlog_processor"]

# Imported on first use: the commands start without them.
_MODULES = {
    "Client": "client.client",
    "ClientStats": "client.stats",
    "Handler": "client.handler",
    "Logger": "client.handler",
    "loguru_sink": "client.integrations",
    "structlog_processor": "client.integrations",
}


prepare_command()


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
