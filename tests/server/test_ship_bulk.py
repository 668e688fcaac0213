"""`fastlog ship` as a process, into an engine with `_bulk` that fails in every way: each line once, under its right id."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from fastlog.segments import identity_of, read_shipped
from tests.helpers.bulk_server import FAULTS, BulkServer
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, run_fastlog, until
from tests.helpers.shipping import make_segment

NODE = "web-1"
KILLS = 6


@pytest.fixture
def engine(closing):
    return closing(BulkServer())


def line(number: int, **fields) -> bytes:
    known = {"timestamp": "2026-11-26T08:30:00.123456Z", "level": "INFO", "message": f"entry {number}", **fields}
    return json.dumps(known, separators=(",", ":")).encode()


class Shipper:
    """`fastlog ship` in `directory`."""

    def __init__(self, directory: Path, to: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*FASTLOG, "ship", "--to", to, "--node", NODE, "--log-dir", ".", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=BASE_ENVIRONMENT,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> tuple[int, str]:
        """Asks it to end; returns its exit code and what it said."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=PATIENCE_SEC)
        return self.process.returncode, said.decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def ship(tmp_path, engine, closing):
    """Starts a shipper."""
    return lambda *arguments, to="/logs": closing(Shipper(tmp_path, engine.url + to, *arguments))


def documents_of(directory: Path) -> dict[str, bytes]:
    """What the engine must have, by the files: each line under its id."""
    found = {}
    for path in directory.glob("server.log*"):
        identity = identity_of(path)
        if identity:
            offset = 0
            for text in path.read_bytes().splitlines(keepends=True):
                found[f"{NODE}-{identity.log}-{identity.segment}-{offset}"] = text.rstrip(b"\n")
                offset += len(text)
    return found


def lines_in(engine: BulkServer) -> dict[str, bytes]:
    """What it has, without the time that was put before each line."""
    return {_id: b"{" + document.split(b",", 1)[1] for _id, document in engine.lines.items()}


def test_each_line_arrives_once_through_faults_rotations_and_kills(tmp_path, start, ship, engine, rng):
    server = start(MAX_LOG_SIZE_MB="0.02", LOG_BACKUPS="1000", FLUSH_COUNT="50")
    faults = [*FAULTS, *[""] * len(FAULTS)]
    for round_ in range(KILLS):
        engine.plan(rng.choices(faults, k=8))
        shipper = ship("--ship-batch-kb", str(rng.choice([1, 8, 64])))
        before = len(engine.documents)
        server.send(line(round_ * 1000 + n, text="x" * rng.randrange(100)) for n in range(1000))
        until(lambda before=before: len(engine.documents) > before, "documents of this round")
        shipper.kill()
    server.stop()
    engine.plan([])
    code, said = ship("--once").wait()
    assert code == 0, said
    expected = documents_of(tmp_path)
    assert len(expected) == 1000 * KILLS
    assert lines_in(engine) == expected
    assert len({_id.split("-")[-2] for _id in expected}) > KILLS, "the log was rotated"


def test_lines_arrive_while_they_are_written_and_the_end_is_noted(tmp_path, start, ship, engine):
    server = start(FLUSH_COUNT="1")
    shipper = ship()
    server.send([line(1)])
    until(lambda: len(engine.documents) == 1, "the first line")
    server.send([line(2)])
    until(lambda: len(engine.documents) == 2, "the second line")
    live = tmp_path / "server.log"
    until(lambda: read_shipped(live).offset == os.stat(live).st_size, "the note of both")
    code, said = shipper.end()
    assert code == 0, said
    assert ship("--once").wait()[0] == 0
    assert engine.outcomes == {201: 2}, "nothing is sent again"


def test_refused_lines_are_in_their_file_and_the_others_in_the_engine(tmp_path, ship, engine):
    engine.refuses = lambda document: (400, "document_parsing_exception", "no") if "bad" in document else None
    lines = [line(1), line(2, bad=1), b"garbage", line(4)]
    make_segment(tmp_path / "server.log", 1, b"\n".join(lines) + b"\n")
    code, said = ship("--once").wait()
    assert code == 0
    assert "refused" in said
    assert [document["message"] for document in engine.documents.values()] == ["entry 1", "entry 4"]
    notes = [json.loads(note) for note in (tmp_path / "ship-refused.jsonl").read_bytes().splitlines()]
    assert [note["text"].encode() for note in notes] == [b"garbage", lines[1]]
    assert [note["reason"] for note in notes] == [
        "not a JSON object: syntax",
        "HTTP 400: document_parsing_exception: no",
    ]
    assert notes[1]["position"].endswith(f":1:{len(lines[0]) + 1}")


def test_an_engine_that_comes_back_gets_the_lines_and_what_hindered_was_said(tmp_path, ship, engine):
    make_segment(tmp_path / "server.log", 1, line(1) + b"\n")
    engine.plan(["down"])
    code, said = ship("--once").wait()
    assert code == 0, said
    assert f"{engine.url}: HTTP 503: cluster_block_exception: no master" in said
    assert len(engine.documents) == 1


def test_victoria_logs_gets_its_query(tmp_path, ship, engine):
    make_segment(tmp_path / "server.log", 1, line(1) + b"\n")
    target = "/insert/elasticsearch/_bulk?_stream_fields=app,host&_msg_field=message"
    assert ship("--once", to=target).wait()[0] == 0
    assert engine.requests == [("POST", target)]


def test_the_check_says_what_engine_it_is(tmp_path, engine):
    make_segment(tmp_path / "server.log", 1, line(1) + b"\n")
    to = ("--to", f"{engine.url}/logs", "--node", NODE, "--log-dir", ".")
    checked = run_fastlog("ship", "--check", *to, cwd=tmp_path)
    assert checked.returncode == 0
    for row in (engine.url, "9.1.0", "logs, exists"):
        assert row in checked.stdout
    assert not engine.documents


def test_a_password_is_not_said(tmp_path, engine):
    make_segment(tmp_path / "server.log", 1, line(1) + b"\n")
    to = engine.url.replace("//", "//shipper:s3cret@") + "/logs"
    engine.authorization = "ApiKey other"
    process = Shipper(tmp_path, to)
    try:
        until(lambda: engine.requests, "a request")
        until(lambda: read_shipped(tmp_path / "server.log").problem, "a problem in the note")
        code, said = process.end()
    finally:
        process.close()
    assert code == 0
    assert "HTTP 401" in said
    assert "s3cret" not in said + read_shipped(tmp_path / "server.log").problem
