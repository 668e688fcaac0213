"""The lines held in memory, compared with a plain list of them in random runs; and the bound, to the byte."""

import itertools

from fastlog.server import held
from fastlog.server.held import HeldLines

FIRST = 7  # number of the first entry


class Model:
    """Each entry by its number: its line, and what is known of it."""

    def __init__(self) -> None:
        self.lines: dict[int, bytes] = {}  # held
        self.written: set[int] = set()
        self.counted: set[int] = set()  # as stored
        self.lost: set[int] = set()
        self.moving: set[int] = set()
        self.is_moving = False
        self.forgotten: set[int] = set()  # told to be in no file that can be trusted
        self.durable_to = FIRST
        self.ends = FIRST

    def hold(self, lines: list[bytes], *, written: bool) -> None:
        for line in lines:
            self.lines[self.ends] = line
            if written:
                self.written.add(self.ends)
                self.counted.add(self.ends)
            self.ends += 1

    def unwritten(self) -> list[int]:
        return sorted(set(self.lines) - self.written)

    def bound(self, most: int) -> set[int]:
        """Drops the oldest; returns what is in no file."""
        gone = set()
        while sum(map(len, self.lines.values())) > most:
            number = min(self.lines)
            del self.lines[number]
            if number not in self.written:
                gone.add(number)
        self.lost |= gone - self.counted
        self.forgotten |= gone
        return gone

    def unwrite(self) -> set[int]:
        gone = set(range(self.durable_to, self.ends)) - set(self.lines) - self.forgotten
        self.forgotten |= gone
        self.lost |= (self.moving & gone) - self.counted
        self.moving.clear()
        self.is_moving = False
        self.written.clear()
        self.durable_to = min(self.lines, default=self.ends)
        return gone

    def move(self, most: int) -> bytes:
        numbers = sorted(self.lines)
        sizes = itertools.accumulate(len(self.lines[number]) for number in numbers)
        moved = [number for number, size in zip(numbers, sizes, strict=True) if size <= most] or numbers[:1]
        self.moving = set(moved) - self.counted
        self.is_moving = True
        self.written = set(moved)
        return b"".join(self.lines[number] for number in moved)

    @property
    def buffered(self) -> int:
        return self.ends - FIRST - len(self.counted | self.lost)


def lines_of(rng, number: int) -> list[bytes]:
    return [b"x" * rng.choice([0, 3, 40, 90]) + b"\n" for _ in range(number)]


def joined(chunks) -> bytes:
    return b"".join(map(bytes, chunks))


def test_it_agrees_with_a_model(rng, monkeypatch):
    monkeypatch.setattr(held, "CHUNK_BYTES", 100)
    monkeypatch.setattr(held, "HELD_MAX_BYTES", 400)
    for _ in range(300):
        lines, model = HeldLines(FIRST), Model()
        covers: int | None = None  # a sync is under way
        for _ in range(60):
            step = rng.randrange(8)
            if step in (0, 1) and not model.unwritten() and not model.is_moving:
                new = lines_of(rng, rng.randrange(4))
                lines.hold_written(b"".join(new), len(new))
                model.hold(new, written=True)
            elif step == 2:
                new = lines_of(rng, rng.randrange(4))
                lines.hold_unwritten(b"".join(new), len(new))
                model.hold(new, written=False)
            elif step == 3 and not model.is_moving:  # some of the unwritten lines are written
                numbers = model.unwritten()[: rng.randrange(5)]
                size = sum(len(model.lines[number]) for number in numbers)
                assert lines.note_written(size) == len(set(numbers) - model.counted)
                model.written |= set(numbers)
                model.counted |= set(numbers)
            elif step == 4 and covers is None and not model.is_moving:
                covers = lines.seal()
            elif step == 5 and covers is not None:
                lines.durable(covers)
                for number in [n for n in model.lines if n < covers]:
                    del model.lines[number]
                model.durable_to = max(model.durable_to, covers)
                covers = None
            elif step == 6:
                covers = None
                first, entries = lines.unwrite()
                assert set(range(first, first + entries)) >= model.unwrite()
                if rng.random() < 0.5:
                    most = rng.choice([1, 100, 1_000])
                    assert joined(lines.move(most)) == model.move(most)
            elif step == 7 and model.is_moving:
                assert lines.moved() == len(model.moving)
                model.counted |= model.moving
                model.moving = set()
                model.is_moving = False
            first, entries = lines.bound()
            assert set(range(first, first + entries)) == model.bound(400)
            assert joined(lines.unwritten()) == joined(model.lines[n] for n in model.unwritten())
            assert lines.lost == len(model.lost)
            assert lines.buffered == model.buffered
        lines.give_up()
        assert lines.buffered == 0
        assert lines.lost == len(model.lost) + model.buffered


def test_only_what_is_beyond_the_bound_is_dropped():
    lines = HeldLines(0)
    line = b"x" * 49_999 + b"\n"
    for _ in range(340):
        lines.hold_unwritten(line, 1)
    most = held.HELD_MAX_BYTES // 50_000
    assert lines.bound() == (0, 340 - most)
    assert lines.lost == 340 - most
    assert lines.buffered == most
    assert len(joined(lines.unwritten())) == most * 50_000


def test_short_lines_take_little_more_memory_than_their_bytes():
    lines = HeldLines(0)
    for _ in range(100_000):
        lines.hold_written(b"x" * 49 + b"\n", 1)
    assert len(lines._written) < 100
