"""`fastlog ship`: ships the log to an engine, and ends at once when it is asked to: it may be killed anywhere."""

import argparse
import os
import signal
from pathlib import Path
from types import FrameType

from fastlog.config import MB, Settings
from fastlog.early import ENDING_SIGNALS, IGNORED_SIGNALS
from fastlog.errors import ConfigError, FastlogError, messages, say
from fastlog.ship.engine import engine_remembers, make_sink
from fastlog.ship.files import LogFiles
from fastlog.ship.place import newest_line, place_for
from fastlog.ship.refused import RefusedFile
from fastlog.ship.shipper import Shipper, read_note
from fastlog.ship.sink import UnavailableError

COLUMN_CHARACTERS = 24  # of the names that `--check` prints
EXIT_HINDERED = 1  # `--once` or `--check`, while something hinders the shipper


class EndedError(BaseException):
    """A signal asks for the end. Like KeyboardInterrupt, it comes at any point, and no handler of errors takes it."""


class _Ending:
    """An ending signal raises EndedError in the main thread. So does each that follows, until the end has begun, since
    Python drops an exception that comes while it destroys an object."""

    def __init__(self) -> None:
        self.has_begun = False
        for number in IGNORED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        ending = [*ENDING_SIGNALS, signal.SIGINT]
        if os.isatty(0):  # a terminal that is closed ends what runs in it; nobody else means this by SIGHUP
            ending.append(signal.SIGHUP)
        for number in ending:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.has_begun:
            raise EndedError


def run(options: argparse.Namespace, settings: Settings) -> int:
    if not settings.ship_to:
        raise ConfigError("where to ship to is not set; --to or FASTLOG_SHIP_TO says it")
    messages.never_wait()
    live = Path(settings.log_dir) / settings.log_filename
    try:
        ending = _Ending()
        if options.check_only:
            return _check(options, settings, live, ending)
        return _ship(options, settings, live, ending)
    except EndedError:
        return 0


def _ship(options: argparse.Namespace, settings: Settings, live: Path, ending: _Ending) -> int:
    refused = _refused_file(settings, live)
    sink = make_sink(settings, refused, create=options.create)
    shipper = Shipper(
        LogFiles(live),
        sink,
        refused,
        batch_bytes=settings.ship_batch_kb << 10,
        engine_remembers=engine_remembers(settings),
        from_start=options.from_start,
    )
    try:
        shipper.run(once=options.once)
    except FastlogError as error:
        shipper.give_up(str(error))
        raise
    finally:
        ending.has_begun = True
        shipper.finish()
        sink.close()
    return EXIT_HINDERED if shipper.problem else 0


def _check(options: argparse.Namespace, settings: Settings, live: Path, ending: _Ending) -> int:
    """Prints where the log and the engine are, and ships nothing."""
    sink = make_sink(settings, _refused_file(settings, live))
    try:
        listing = LogFiles(live).now_or_refuse()
        note = read_note(live)
        rows = [("log", f"{live} ({listing.log or 'there is none'})")]
        rows += [("newest line ends before", str(listing.end()))] if listing.log else []
        rows += [("shipped up to", str(note.position))] if note else []
        rows += [("problem", note.problem)] if note and note.problem else []
        _print(rows)
        engine = newest_line(sink, note)
        _print(sink.report())
        if listing.log:
            place = place_for(engine, note, listing, engine_remembers(settings), options.from_start)
            _print([("continues at", str(place)), ("lag", f"{listing.lag(place):,} bytes")])
    except (UnavailableError, OSError) as error:
        say(str(error))
        return EXIT_HINDERED
    finally:
        ending.has_begun = True
        sink.close()
    return 0


def _refused_file(settings: Settings, live: Path) -> RefusedFile:
    return RefusedFile(live.parent, int(settings.rejects_max_mb * MB))


def _print(rows: list[tuple[str, str]]) -> None:
    for name, value in rows:
        print(f"{name + ':':{COLUMN_CHARACTERS}} {value}")
