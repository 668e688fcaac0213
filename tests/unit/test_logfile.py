"""The limit of a file's size, and the number of files set aside."""

import pytest

from fastlog.server import names
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage

LINE = b"1234\n"


@pytest.fixture
def open_log(tmp_path, closing):
    return lambda limit: closing(LogFile(Storage(), tmp_path, "server.log", limit, 9))


@pytest.mark.parametrize(("limit", "sizes"), [(9, [5, 5, 5]), (10, [10, 5]), (11, [10, 5]), (15, [15]), (4, [5, 5, 5])])
def test_a_file_is_as_large_as_its_limit_and_no_larger_unless_a_line_is(tmp_path, open_log, limit, sizes):
    log = open_log(limit)
    assert log.append(memoryview(3 * LINE), durable=False) == 3 * len(LINE)
    paths = [*(tmp_path / f"server.log.{number}" for number in range(len(sizes) - 1, 0, -1)), log.path]
    assert [path.stat().st_size for path in paths] == sizes
    assert len(list(tmp_path.iterdir())) == len(sizes)


def test_a_disk_that_fails_again_and_again_is_not_filled_with_files_set_aside(tmp_path, open_log, monkeypatch):
    monkeypatch.setattr(names, "DISTRUSTED_MAX", 3)
    log = open_log(1000)
    ends: list[OSError | None] = []
    for number in range(5):
        log.append(memoryview(b"%d\n" % number), durable=False)
        log.replace([bytearray(LINE)], ends.append)
    assert ends == [None] * 5
    assert len(list(tmp_path.glob("*.distrusted.*"))) == 3
    assert (tmp_path / "server.log.2").read_bytes() == LINE + b"3\n"  # one more is an archive like the others
    assert (tmp_path / "server.log.1").read_bytes() == LINE + b"4\n"
    assert log.path.read_bytes() == LINE
