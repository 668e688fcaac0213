"""docs/operations.md: its recipes for compressed archives in other programs, word for word, with these programs.

Needs Debian's zstd and lnav. Where one of them is missing its test is skipped, except in CI, where it fails.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastlog.archive.index import FRAME_BYTES
from tests.helpers.archives import compressed, index_of
from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC

ROOT = Path(__file__).parents[2]
SECTION = (
    (ROOT / "docs" / "operations.md").read_text().partition("## Archives in other programs\n")[2].partition("\n## ")[0]
)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
ZSTD, LNAV = (block for language, block in BLOCKS if language == "sh")
[SQL] = (block for language, block in BLOCKS if language == "sql")
PANDAS, PYTHON = (block for language, block in BLOCKS if language == "python")
ENTRIES = 20_000
ERRORS = 20


def needs(tool: str):
    return pytest.mark.skipif(
        shutil.which(tool) is None and os.environ.get("CI") != "true", reason=f"no {tool}; see .ci/run for its package"
    )


def entry(number: int) -> bytes:
    level = b"ERROR" if number % 1000 == 7 else b"INFO"
    return (
        b'{"timestamp":"2026-11-24T07:%02d:%02d.000000Z","level":"%b","message":"request %d of %d","app":"shop","n":%d}\n'
        % (number // 1000, number // 20 % 60, level, number * 7919 % 10007, number * 104729 % 1299709, number)
    )


@pytest.fixture(scope="module")
def text() -> bytes:
    return b"".join(map(entry, range(ENTRIES)))


@pytest.fixture
def log(tmp_path, text):
    """A directory with a live file without a line, and an archive of several frames with lines of rare levels."""
    path = tmp_path / "server.log.1"
    path.write_bytes(text)
    index = index_of(compressed(path))
    assert len(text) > 2 * FRAME_BYTES
    assert index.rare
    path.unlink()
    (tmp_path / "server.log").touch()
    return tmp_path


def shell(commands: str, directory: Path, **environment: str) -> bytes:
    return subprocess.run(
        ["bash", "-ec", commands],
        cwd=directory,
        env={**BASE_ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=PATIENCE_SEC,
        check=True,
    ).stdout


@needs("zstd")
def test_the_tools_of_zstd(log, text):
    cat, grep, unpack = ZSTD.splitlines(keepends=True)
    assert shell(cat, log) == text
    assert shell(grep, log).count(b"\n") == ERRORS
    shell(unpack, log)
    assert (log / "old.log").read_bytes() == text


@needs("lnav")
def test_lnav(log, tmp_path, text):
    home = tmp_path / "home"
    formats = home / ".lnav" / "formats" / "installed"
    formats.mkdir(parents=True)
    shutil.copy(ROOT / "contrib" / "lnav" / "fastlog.json", formats)
    environment = {"HOME": str(home), "TERM": "dumb", "TMPDIR": str(home)}
    show, query = LNAV.splitlines(keepends=True)
    shown = shell(show.replace("lnav ", "lnav -n "), log, **environment)
    assert [int(number) for number in re.findall(rb"^  n: (\d+)$", shown, re.MULTILINE)] == list(range(ENTRIES))
    assert shell(query, log, **environment).decode().splitlines() == [
        "log_level,count(*)",
        f"info,{ENTRIES - ERRORS}",
        f"error,{ERRORS}",
    ]


def test_duckdb(log, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(log)
    with duckdb.connect() as database:
        assert database.sql(SQL).fetchall() == [("ERROR", ERRORS), ("INFO", ENTRIES - ERRORS)]


@pytest.mark.parametrize("program", ["pandas", "Python"])
def test_python(log, program):
    done = subprocess.run(
        [sys.executable, "-c", PANDAS if program == "pandas" else PYTHON],
        cwd=log,
        env=BASE_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=True,
    )
    if program == "pandas":
        assert re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE) == [
            ("INFO", str(ENTRIES - ERRORS)),
            ("ERROR", str(ERRORS)),
        ]
        assert done.stdout.splitlines()[-1] == str(ENTRIES)
    else:
        assert done.stdout == f"{ERRORS}\n"


def test_what_unpacks_one_frame_only_and_what_does_not(log, text):
    zstandard = pytest.importorskip("zstandard")
    stored = (log / "server.log.1.zst").read_bytes()
    with contextlib.closing(zstandard.open(log / "server.log.1.zst")) as file:
        assert file.read() == text
    assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stored)).read() == text
    assert len(zstandard.ZstdDecompressor().decompress(stored)) < FRAME_BYTES
