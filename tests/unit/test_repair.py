"""How a damaged file is repaired, wherever the damage is and however it is split into blocks."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlog.server import repair
from fastlog.server.storage import Storage

INFO = b'{"level":"INFO","message":"m"}'
NESTED = b'{"level":"INFO","message":"{\\"a\\":1}","context":{"b":{"c":[1e400,"{"]}}}'
LINE = b'{"level":"INFO","message":"%s"}\n' % (b"x" * 53)


def repaired(directory, content: bytes) -> tuple[bytes, bytes, int]:
    """The file after the repair, `.torn`, and the number of torn bytes reported."""
    path = directory / "server.log"
    torn = directory / "server.log.torn"
    torn.unlink(missing_ok=True)
    path.write_bytes(content)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        count = repair.repair_all(Storage(), path, directory_fd)
    finally:
        os.close(directory_fd)
    return path.read_bytes(), torn.read_bytes() if torn.exists() else b"", count


def expected(content: bytes) -> tuple[bytes, bytes]:
    """The whole lines of the content, and everything else but its zeros."""
    whole, torn = [], []
    *lines, rest = content.split(b"\n")
    for line in lines:
        *before, last = line.split(b"\0")
        torn += before
        (whole if not before or is_object(last) else torn).append(last + b"\n")
    torn += rest.split(b"\0")
    return b"".join(whole), b"".join(torn)


def is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


pieces = st.one_of(
    st.sampled_from([INFO + b"\n", NESTED + b"\n", INFO, b"\n", bytes(5), bytes(40)]),
    st.integers(1, len(NESTED)).map(lambda cut: NESTED[:cut]),
    st.integers(0, len(NESTED)).map(lambda cut: NESTED[cut:] + b"\n"),
)


@given(content=st.lists(pieces, max_size=12).map(b"".join), block=st.sampled_from([1, 2, 7, 64, 1 << 20]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
def test_whole_lines_stay_and_all_else_is_kept_beside(tmp_path, content, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair, "BLOCK_BYTES", block)
        left, torn, count = repaired(tmp_path, content)
        whole, unfinished = expected(content)
        assert left == whole
        assert torn == (unfinished + b"\n" if unfinished else b"")
        assert count == len(unfinished)
        assert repaired(tmp_path, left) == (left, b"", 0)


@pytest.mark.parametrize("cut", range(1, len(NESTED)))
def test_the_end_of_a_line_is_no_whole_line_wherever_it_was_cut(tmp_path, cut):
    assert repaired(tmp_path, bytes(10) + NESTED[cut:] + b"\n")[0] == b""


def test_a_hole_far_from_the_end_of_a_large_file_is_found_and_costs_no_line(tmp_path):
    """It is repaired in one pass: a quadratic one would take minutes."""
    before, behind = LINE * 20_000, LINE * ((16 << 20) // len(LINE) - 1_000)
    left, _, count = repaired(tmp_path, before + LINE[:40] + bytes(4096) + b'x"}\n' + behind)
    assert left == before + behind
    assert count == 40 + 4


def test_zeros_are_cut_off_however_many_they_are(tmp_path):
    assert repaired(tmp_path, LINE * 10 + bytes(3 * repair.SOUND_BYTES)) == (LINE * 10, b"", 0)


def test_each_hole_is_a_reason_to_look_back_further(tmp_path, monkeypatch):
    monkeypatch.setattr(repair, "BLOCK_BYTES", 100)
    monkeypatch.setattr(repair, "SOUND_BYTES", 1_000)
    apart = bytes(50) + LINE * 8
    assert repaired(tmp_path, LINE * 20 + apart * 30) == (LINE * (20 + 8 * 30), b"", 0)


def test_only_files_of_the_log_are_repaired(tmp_path):
    (tmp_path / "server.log.new").write_bytes(b"half")
    (tmp_path / "server.log.1.gz").write_bytes(b"half")
    (tmp_path / "server.log.distrusted.12").write_bytes(b"half")
    assert repaired(tmp_path, INFO + b"\nhalf") == (INFO + b"\n", b"half\nhalf\n", 8)
    assert (tmp_path / "server.log.new").read_bytes() == b"half"
    assert (tmp_path / "server.log.1.gz").read_bytes() == b"half"
    assert (tmp_path / "server.log.distrusted.12").read_bytes() == b""
