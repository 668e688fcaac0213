"""Where to continue: by what the engine has, by the note beside the log, and by the files that are there."""

from fastlog.errors import say
from fastlog.segments import Position, Shipped, position_from
from fastlog.ship.delivery import Delivery
from fastlog.ship.files import Listing
from fastlog.ship.sink import RivalError, Sink

START_ANEW = "`--from-start` ships all files anew"


def first_position(listing: Listing) -> Position:
    """The beginning of the oldest file. There is a log."""
    return Position(listing.log or "", listing.oldest, 0)


def newest_line(engine: Sink | Delivery, note: Shipped | None) -> Position | None:
    """Where the engine's newest line ends, or did until its limits deleted it. None: it has none, or does not tell."""
    position = engine.resume()
    if position is None and note and note.sequence and engine.has_expired(note.sequence):
        say("the limits of the engine have deleted all lines of this node: shipping continues where it was")
        position = position_from(note.acknowledged)
    return position


def place_for(
    engine: Position | None, note: Shipped | None, listing: Listing, engine_remembers: bool, from_start: bool
) -> Position:  # fmt: skip
    """Where to continue. `engine`: where its newest line ends, None if it has none. Raises RivalError."""
    if engine_remembers:
        return place_by_engine(engine, note, listing, from_start=from_start)
    return place_by_note(note, listing, from_start=from_start)


def place_by_note(note: Shipped | None, listing: Listing, *, from_start: bool) -> Position:
    """For an engine that does not tell what it has, and takes a line again without harm."""
    if note is None or note.log != listing.log or from_start:
        return first_position(listing)
    return note.position


def place_by_engine(
    engine: Position | None, note: Shipped | None, listing: Listing, *, from_start: bool
) -> Position:  # fmt: skip
    """For an engine whose newest line ends at `engine`; None: it has none. Raises RivalError."""
    acknowledged = position_from(note.acknowledged) if note else None
    if engine is None:
        if acknowledged is None or from_start:
            return first_position(listing)
        raise RivalError(f"the engine has no line of this node, and had some up to {acknowledged}; {START_ANEW}")
    if note and engine == acknowledged:
        if note.log != listing.log:
            return first_position(listing)
        return max(note.position, engine) if engine.log == note.log else note.position
    if engine.log != listing.log:
        if from_start or (note and engine.log in (note.log, acknowledged and acknowledged.log)):
            return first_position(listing)
        raise RivalError(
            f"the engine has lines of another log for this node, up to {engine}; this log is {listing.log}. Name this "
            f"node otherwise (--node), or {START_ANEW}"
        )
    end = listing.end()
    if engine > end and (note is None or note.log != engine.log or note.position < engine):
        if from_start:
            return first_position(listing)
        raise RivalError(
            f"the engine has lines up to {engine}, and the log here ends at {end}: a copy of it is shipped elsewhere, "
            f"or it was put back to an older one. Name this node otherwise (--node), or {START_ANEW}"
        )
    return engine
