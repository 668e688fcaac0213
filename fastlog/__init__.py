"""fastlog: structured logs over UDP, collected cheaply, the errors durable and acknowledged."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlog.client import Client, ClientStats
    from fastlog.handler import Handler

__version__ = "0.1.0"
__all__ = ["Client", "ClientStats", "Handler"]

# Imported when asked for: the commands start without them.
_MODULES = {"Client": "client", "ClientStats": "client", "Handler": "handler"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
