"""The scanner and the reference decoder on literal datagrams: each case has one outcome, and both must give it."""

import pytest
from msgspec.structs import astuple

from fastlog import entry
from fastlog._parse import scan
from tests.helpers._hooks import scan_many
from tests.helpers.cases import CASES, GELF, GOOD, GOOD_2, SHAPES, TIMESTAMPS

Found = tuple[str | None, str | None, int | None, int, int, bytes | None, bool, bool]


def decode(datagram: bytes, takes_gelf: bool = False) -> list[Found]:
    """The reference decoder's verdict in the form of the scanner's."""
    return [astuple(p) for p in entry.decode(datagram, takes_gelf)]


def short(datagram: bytes, found: list[Found]) -> list[tuple[object, ...]]:
    """A verdict in the form of the cases."""
    return [
        (level, sequence, line[:-1]) if line else (reason, datagram[start:end])
        for reason, level, sequence, start, end, line, *_ in found
    ]


@pytest.mark.parametrize("verdict", [scan, decode], ids=["scanner", "reference"])
@pytest.mark.parametrize(("datagram", "pieces"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_literal_datagram(verdict, datagram, pieces):
    assert short(datagram, verdict(datagram)) == pieces


@pytest.mark.parametrize("verdict", [scan, decode], ids=["scanner", "reference"])
@pytest.mark.parametrize(("fields", "has_timestamp"), TIMESTAMPS)
def test_whether_an_entry_has_a_timestamp(verdict, fields, has_timestamp):
    assert verdict(b'{"level":"INFO",%b"message":"07:00"}' % fields)[0][6] is has_timestamp


@pytest.mark.parametrize("verdict", [scan, decode], ids=["scanner", "reference"])
@pytest.mark.parametrize(("datagram", "pieces"), [case[1:] for case in GELF], ids=[case[0] for case in GELF])
def test_gelf(verdict, datagram, pieces):
    found = verdict(datagram, True)
    assert ["gelf" if is_gelf else level or reason for reason, level, *_, is_gelf in found] == [
        kind for kind, _ in pieces
    ]
    assert [datagram[start:end] for _, _, _, start, end, *_ in found] == [piece for _, piece in pieces]
    # where GELF is not taken, it is rejected like anything else that is no entry
    assert not any(is_gelf for *_, is_gelf in verdict(datagram))


@pytest.mark.parametrize(("datagram", "pieces"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_neighbour_is_never_harmed(datagram, pieces):
    """Whatever a line holds, an entry on the line before it and one on the line after it are stored."""
    if pieces[0][0] == "empty":
        pieces = []
    before = GOOD + b"\n" + datagram
    found = short(before + b"\n" + GOOD_2, scan(before + b"\n" + GOOD_2))
    assert found[-1] == ("ERROR", 7, GOOD_2)
    if datagram.lstrip().startswith(b"{"):  # else it stands right after an entry, and the two are rejected together
        assert found[0] == ("INFO", None, GOOD)
        assert found[1:-1] == pieces


@pytest.mark.parametrize("name", ["a pretty-printed entry is stored as one line", "entries with blank lines"])
def test_cut_at_every_byte(name):
    datagram = next(case[1] for case in SHAPES if case[0] == name)
    for size in range(len(datagram) + 1):
        assert scan(datagram[:size]) == decode(datagram[:size])


def test_an_entry_cut_anywhere_leaves_its_neighbours_whole():
    middle = b'{"timestamp":"2026-11-24T07:00:00.000000Z","sequence":12,"level":"WARN","message":"a \\"b\\" \xc3\xa9","x":[{}]}'
    for size in range(1, len(middle)):
        datagram = GOOD + b"\n" + middle[:size] + b"\n" + GOOD_2
        kinds = [piece[0] for piece in scan(datagram)]
        assert (kinds[0], len(kinds), kinds[-1]) == (None, 3, None), datagram


def test_nothing_behind_the_datagram_is_read():
    """The scanner's verdict does not depend on the bytes that follow in memory."""
    whole = GOOD[:-1] + b"}" + GOOD_2
    assert scan(memoryview(whole)[: len(GOOD) - 1]) == scan(GOOD[:-1])


def test_the_names_are_in_the_scanners_order():
    assert [scan(b'{"level":"%b","message":""}' % name.encode())[0][1] for name in entry.LEVELS] == list(entry.LEVELS)
    reasons = {piece[0] for _, datagram, _ in CASES for piece in scan(datagram)} - {None}
    assert reasons == {*entry.REASONS, entry.EMPTY}


def test_scan_many_counts_the_entries_accepted():
    assert scan_many([GOOD + GOOD_2, b"x", GOOD]) == 3
