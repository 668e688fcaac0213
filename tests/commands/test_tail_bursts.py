"""`fastlog tail` of a time, where a sender with a wrong clock has sent much at once."""

import gzip
import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from tests.helpers.running import run_fastlog

BEGIN = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
ENTRIES = 30_000  # one a second, about 1 KB each
BURST_AT = ENTRIES // 2
BURST = 1_000  # entries, of a clock that is wrong by a day


def line_of(second: int) -> str:
    return json.dumps({"timestamp": at(second), "level": "INFO", "message": f"{second} {'x' * 930}"}) + "\n"


def at(second: int) -> str:
    return (BEGIN + timedelta(seconds=second)).isoformat()


def text_with(burst_second: int) -> bytes:
    lines = [line_of(second) for second in range(ENTRIES)]
    lines[BURST_AT:BURST_AT] = [line_of(burst_second)] * BURST
    return "".join(lines).encode()


def shown(directory, *window: str) -> list[int]:
    done = run_fastlog("tail", "--log-dir", ".", "--json", *window, cwd=directory)
    return [int(json.loads(line)["message"].split()[0]) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("days", "first", "end"), [(-1, 10_000, 10_060), (-1, 20_000, 20_060), (1, 0, 20_000), (1, 20_000, 20_060)]
)
def test_it_hides_no_others_in_a_plain_file(tmp_path, days, first, end):
    (tmp_path / "server.log").write_bytes(text_with(days * 86_400))
    since = ["--since", at(first)] if first else []
    assert [second for second in shown(tmp_path, *since, "--until", at(end)) if second >= 0] == list(range(first, end))


def as_gzip(path, text: bytes) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(text, 1))


def as_zstd(path, text: bytes) -> None:
    subprocess.run(["zstd", "-q", "-o", f"{path}.zst"], input=text, check=True)


@pytest.mark.parametrize("write", [as_gzip, as_zstd])
def test_it_hides_no_others_in_an_archive_of_another_program(tmp_path, write):
    (tmp_path / "server.log").write_bytes(b"")
    write(tmp_path / "server.log.1", text_with(86_400))
    assert shown(tmp_path, "--since", at(20_000), "--until", at(20_060)) == list(range(20_000, 20_060))
