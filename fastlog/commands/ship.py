"""`fastlog ship`."""

import argparse

from fastlog.config import Settings
from fastlog.errors import ConfigError


def run(options: argparse.Namespace, settings: Settings) -> int:
    if not settings.ship_to:
        raise ConfigError("where to ship to is not set; --to or FASTLOG_SHIP_TO says it")
    raise NotImplementedError(options)
