"""The history of a real server: what `/history` says, over a kill as well."""

import json
import signal
from pathlib import Path
from time import monotonic, time

import msgspec
import pytest

from fastlog.config import Settings
from fastlog.server import dashboard
from fastlog.server.dashboard import Asks, Dashboard
from fastlog.server.history import History, history_answer
from fastlog.server.history_file import HistoryFile
from fastlog.stats import Stats
from fastlog.stats_client import RefusedError, StatsClient
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


def sender(server, address: str) -> dict:
    answer = get(server.dashboard_port, f"/sender?address={address}")
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def test_a_sender_is_shown_with_its_gaps_over_time(start):
    server = start()
    began = time()
    with server.client() as client:
        address = f"127.0.0.1:{client.getsockname()[1]}"
        for sequence in (7, 8, 12, 12):
            client.send(b'{"level":"ERROR","message":"%d","sequence":%d}' % (sequence, sequence))
            client.recv(100)
        shown = eventually(lambda: sender(server, address), lambda shown: shown["gaps"])
    assert {name: shown[name] for name in ("address", "received", "lost", "repeated", "restarts")} == {
        "address": address, "received": 4, "lost": 3, "repeated": 1, "restarts": 0
    }  # fmt: skip
    assert began - 1 < shown["first_heard"] <= shown["last_heard"] <= time() + 1
    [growth] = shown["gaps"]
    assert growth["count"] == 3
    assert began <= growth["at"] <= time()
    server.send([INFO])
    other = next(each["address"] for each in server.stats()["top_senders"] if each["address"] != address)
    assert sender(server, other)["gaps"] is None


def test_a_sender_that_is_not_known_is_said_to_be_so(start):
    server = start()
    answer = get(server.dashboard_port, "/sender?address=192.0.2.1:514")
    assert answer.status == 404
    assert json.loads(answer.text) == {
        "error": "192.0.2.1:514 is not known: no entry came from it within the last hour"
    }
    for wrong in ("", "?address=", "?address=x", "?address=%ff", "?address=192.0.2.1"):
        answer = get(server.dashboard_port, f"/sender{wrong}")
        assert answer.status == 400
        assert "such as 192.0.2.1:514" in json.loads(answer.text)["error"]


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_a_loop_that_is_held_up_is_waited_for_once(start, monkeypatch):
    stats = msgspec.convert(start().stats(), Stats)
    page = Dashboard(Settings(), 0, Asks(lambda: None, lambda: None), History(time(), monotonic()))
    page.publish(stats)
    page.beat(stats.health, busy=False)
    page.start()
    port = int(page.url.rstrip("/").rpartition(":")[2])
    for answer_sec in (0.001, 1e9, 1e9):
        monkeypatch.setattr(dashboard, "ANSWER_SEC", answer_sec)
        answer = get(port, "/sender?address=192.0.2.1:514")
        assert (answer.status, json.loads(answer.text)) == (503, {"error": "the server's loop is held up; try again"})
    with pytest.raises(RefusedError, match="/sender answers 503: the server's loop is held up"):
        StatsClient(page.url, "").sender("192.0.2.1:514")
