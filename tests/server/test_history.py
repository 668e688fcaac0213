"""The history of a real server: what `/history` says, over a kill as well."""

import json
import signal
from pathlib import Path
from time import monotonic, time

import pytest

from fastlog.server.history import History, history_answer
from fastlog.server.history_file import HistoryFile
from tests.helpers.entries import ERROR_7, INFO
from tests.helpers.running import eventually, get, until


def history(server, range_: str = "1h") -> dict:
    answer = get(server.dashboard_port, f"/history?range={range_}")
    assert answer.status == 200
    assert answer.getheader("Content-Type") == "application/json"
    return json.loads(answer.text)


def total(counts: list[int | None]) -> int:
    return sum(filter(None, counts))


def starts(answer: dict) -> int:
    return sum(mark["count"] for mark in answer["marks"] if mark["kind"] == "start")


def test_what_came_and_what_was_lost_is_in_the_history_of_each_range(start):
    server = start()
    with server.client() as client:
        client.send(ERROR_7)
        client.recv(100)
        client.send(ERROR_7.replace(b'"sequence":7', b'"sequence":9'))
        client.recv(100)
    server.send([INFO] * 10 + [b"bad"])
    eventually(lambda: total(history(server)["series"]["received"]), lambda count: count == 12)
    for range_, step in (("5m", 1), ("1h", 10), ("24h", 300), ("7d", 1800)):
        answer = history(server, range_)
        series = answer["series"]
        assert (answer["range"], answer["step_seconds"], answer["end"] % step) == (range_, step, 0)
        assert total(series["received"]) == 12
        assert {level: total(counts) for level, counts in series["levels"].items() if total(counts)} == {
            "INFO": 10, "ERROR": 2
        }  # fmt: skip
        assert {loss: total(counts) for loss, counts in series["losses"].items()} == {
            "kernel_drops": 0, "network": 1, "disk": 0, "unshipped": 0, "rejected": 1, "filtered": 0
        }  # fmt: skip
        assert 0 < max(filter(None, series["ack_p50_ms"])) <= max(filter(None, series["ack_p99_ms"]))
        assert max(filter(None, series["resident_bytes"])) > 1_000_000
        assert max(filter(None, series["cpu_percent"])) > 0
        assert starts(answer) == 1
        assert {len(counts) for counts in (*series["losses"].values(), series["received"])} == {
            len(series["ran_seconds"])
        }  # fmt: skip


@pytest.mark.parametrize("query", ["?range=1d", "?range=", "?range=5m%00", "?range=" + "x" * 1_000])
def test_a_range_that_there_is_not_rejected(start, query):
    answer = get(start().dashboard_port, f"/history{query}")
    assert (answer.status, json.loads(answer.text)) == (400, {"error": "range is one of 5m, 1h, 24h, 7d"})


def test_a_killed_server_has_its_history_again(start, start_changed, tmp_path):
    server = start_changed("from fastlog.server import server\nserver.SAVE_SEC = 0.05")
    server.send([INFO] * 15)
    until(lambda: saved(tmp_path) == 15, "the history on the disk")
    server.signal(signal.SIGKILL)
    server.process.wait()
    again = start()
    assert total(history(again)["series"]["received"]) == 15
    again.send([INFO] * 2)
    answer = eventually(lambda: history(again), lambda answer: total(answer["series"]["received"]) == 17)
    assert starts(answer) == 2
    assert again.stop() == 0
    assert saved(tmp_path) == 17  # an end that was asked for saves what is left


def saved(directory: Path) -> int:
    """The entries in the file of the history."""
    kept = History(time(), monotonic())
    HistoryFile(directory / "server.log", kept).load()
    return total(history_answer(kept, "7d").series.received)


def test_a_server_starts_whatever_has_the_name_of_its_history(start, tmp_path):
    file = tmp_path / ".fastlog-history-server.log"
    file.mkdir()
    server = start()
    assert any(f"{file}: it is not a file; remove it" in message for message in server.messages)
    server.send([INFO])
    eventually(lambda: total(history(server)["series"]["received"]), lambda count: count == 1)
    assert server.stop() == 0
    assert sum("history" in message for message in server.messages) == 1
    assert " stored 1, " in server.account


def test_the_history_is_no_archive_and_no_log(start, tmp_path):
    server = start(LOG_BACKUPS="0", MAX_LOG_SIZE_MB="0.001", FLUSH_COUNT="1")
    server.send([INFO] * 100)
    assert server.stop() == 0
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == [".fastlog-history-server.log", "rejects.jsonl", "server.log"]
    again = start(LOG_BACKUPS="0", MAX_LOG_SIZE_MB="0.001")
    assert total(history(again)["series"]["received"]) == 100
