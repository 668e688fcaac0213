"""The history: what its rings count over days, and over clocks that jump; how it survives the server."""

import errno
import os
import sys
from array import array
from pathlib import Path

import pytest

from fastlog.entry import LEVELS
from fastlog.server import history_file
from fastlog.server.history import LOSSES, NO_STEP, RANGES, STEP, Counters, History, history_answer
from fastlog.server.history_file import FILE_BYTES, HEADER, HEADER_BYTES, SLOT, HistoryFile
from fastlog.server.meters import ACK_BOUNDS_SEC, LatencyMeter, quantile
from tests.helpers.randomness import Random

BEGAN = 1_800_000_000.0  # the first second of a step of each length
BYTES_MAX = 2_000_000  # of the history, in memory as on the disk


class Run:
    """A server's counters, on a wall clock and on one that nobody sets."""

    def __init__(self, wall: float = BEGAN, history: History | None = None) -> None:
        self.wall = wall
        self.now = 50.0
        self.history = history or History(wall, self.now)
        self.info = 0
        self.drops = 0.0
        self.restarts = 0
        self.acks = LatencyMeter()

    def tick(self, seconds: float = 1.0, *, jump: float = 0.0, resident: int | None = 1_000) -> None:
        self.now += seconds
        self.wall += seconds + jump
        levels = [self.info if level == "INFO" else 0 for level in LEVELS]
        losses = [self.drops if loss == "kernel_drops" else 0.0 for loss in LOSSES]
        counters = Counters((self.now - 50.0) / 4, self.restarts, levels, losses, self.acks.counts)
        self.history.add(self.wall, self.now, counters, resident)

    def received(self, name: str) -> list[int | None]:
        return history_answer(self.history, name).series.received


def test_a_second_is_counted_in_its_step_of_each_length():
    run = Run()
    for info in (3, 0, 5):
        run.info += info
        run.tick()
    answers = {name: history_answer(run.history, name) for name in RANGES}
    assert answers["5m"].series.received[-4:] == [None, 3, 0, 5]
    assert answers["5m"].end == BEGAN + 4  # of the second that has just begun
    for name in ("1h", "24h", "7d"):
        assert answers[name].series.received[-2:] == [None, 8]
        assert answers[name].series.levels["INFO"][-1] == 8
        assert answers[name].series.levels["ERROR"][-1] == 0
        assert answers[name].series.ran_seconds[-1] == 3.0
        assert answers[name].series.cpu_percent[-1] == 25.0
        assert answers[name].series.resident_bytes[-1] == 1_000
        assert answers[name].end == BEGAN + RANGES[name].step_sec
        assert [(mark.kind, mark.count) for mark in answers[name].marks] == [("start", 1)]


def test_seven_days_add_up_in_little_memory_and_on_little_disk(tmp_path):
    """Most of them on a machine that is suspended for 29 of 30 seconds, since each second costs the test some time."""
    random, run = Random(), Run()
    file = HistoryFile(tmp_path / "server.log", run.history)
    sent: dict[int, int] = {}  # by when the loop has counted them
    while run.wall < BEGAN + 8 * 86_400:
        count = random.randrange(1_000)
        run.info += count
        run.acks.add(0.2 if count > 900 else 0.003, 1)
        run.tick(jump=0.0 if run.wall >= BEGAN + 8 * 86_400 - 4_000 else 29.0)
        sent[int(run.wall)] = count
    for name, (step_sec, steps) in RANGES.items():
        answer = history_answer(run.history, name)
        first = answer.end - step_sec * steps
        expected = [0] * steps
        for wall, count in sent.items():
            if wall >= first:
                expected[(wall - first) // step_sec] += count
        assert answer.series.received == expected
        assert answer.end == -(-(run.wall + 1) // step_sec) * step_sec
    assert 2.5 < history_answer(run.history, "1h").series.ack_p50_ms[-2] < 5
    rows = [ring._rows for ring in run.history.rings.values()]
    assert sum(map(sys.getsizeof, rows)) < BYTES_MAX
    file.finish()
    assert file.path.stat().st_size <= FILE_BYTES < BYTES_MAX


def test_a_loop_that_was_held_up_leaves_no_hole_and_loses_no_count():
    run = Run()
    run.tick()
    run.info += 11
    run.tick(4.0)
    assert run.received("5m")[-5:] == [0, 2, 3, 3, 3]
    run.info += 1
    run.tick(1_000.0)
    assert sum(run.received("5m")) == 1  # the share of its last second
    assert sum(filter(None, run.received("1h"))) == 12
    assert history_answer(run.history, "5m").series.ran_seconds == [1.0] * 300
    run.tick(86_400.0)
    assert sum(history_answer(run.history, "24h").series.ran_seconds[:-1]) == 86_400.0 - 300


@pytest.mark.parametrize("jump", [-86_400.0, -3_600.0, -7.0, 7.0, 3_600.0, 86_400.0, 1e9])
def test_a_clock_that_jumps_loses_no_count_and_shows_none_of_another_time(jump):
    run = Run()
    for _ in range(20):
        run.info += 1
        run.tick()
    run.info += 5
    run.tick(jump=jump)
    received = run.received("5m")
    assert received[-1] == (5 if jump > 0 else 5 + (jump == -7.0))
    before = received[:-1]
    if jump == 7.0:
        assert before[-27:] == [1] * 20 + [None] * 7
    elif jump == -7.0:
        assert before[-13:] == [1] * 13
    else:
        assert before == [None] * 299
    assert history_answer(run.history, "5m").end == int(run.wall) + 1
    run.tick(jump=-jump)
    assert sum(filter(None, run.received("1h"))) >= 20 if abs(jump) < 3_600 else True


def test_a_suspended_machine_is_a_hole():
    run = Run()
    run.tick()
    run.info += 2
    run.tick(jump=10.0)
    assert run.received("5m")[-12:] == [0] + [None] * 10 + [2]


def test_what_is_not_known_is_null_and_no_sum_hides_it():
    run = Run()
    run.tick()
    run.drops = float("nan")
    run.tick(resident=None)
    drops = history_answer(run.history, "5m").series.losses["kernel_drops"]
    assert drops[-2:] == [0, None]
    assert history_answer(run.history, "1h").series.losses["kernel_drops"][-1] is None
    assert history_answer(run.history, "5m").series.resident_bytes[-1] is None
    assert history_answer(run.history, "1h").series.resident_bytes[-1] == 1_000
    assert history_answer(run.history, "5m").series.ack_p99_ms[-1] is None


def test_restarts_of_senders_are_marks():
    run = Run()
    run.tick()
    run.restarts = 3
    run.tick()
    marks = history_answer(run.history, "5m").marks
    assert [(mark.at, mark.kind, mark.count) for mark in marks] == [
        (BEGAN + 1, "start", 1),
        (BEGAN + 2, "sender_restarts", 3),
    ]


def test_quantiles_are_those_that_prometheus_makes_of_the_same_histogram():
    meter = LatencyMeter()
    assert quantile(meter.counts, 0.5) is None
    for seconds, acks in ((0.00005, 10), (0.002, 10), (0.0025, 10), (20.0, 10)):
        meter.add(seconds, acks)
    assert quantile(meter.counts, 0.25) == ACK_BOUNDS_SEC[0]
    assert quantile(meter.counts, 0.125) == pytest.approx(0.00005)
    assert quantile(meter.counts, 0.5) == pytest.approx(0.001 + 0.0015 / 2)
    assert quantile(meter.counts, 0.75) == pytest.approx(0.0025)  # a bound belongs to what is below it
    assert quantile(meter.counts, 0.99) == ACK_BOUNDS_SEC[-1]
    assert meter.sum_sec == pytest.approx(200.0455)


# The file


@pytest.fixture
def filled(tmp_path):
    """A run of a minute, which is saved."""
    run = Run()
    file = HistoryFile(tmp_path / "server.log", run.history)
    file.load()
    for _ in range(60):
        run.info += 1
        run.tick()
    file.finish()
    return run


def restored(directory: Path) -> Run:
    run = Run(BEGAN + 60)
    HistoryFile(directory / "server.log", run.history).load()
    return run


def test_the_next_run_continues_it(filled, tmp_path, capfd):
    run = restored(tmp_path)
    assert run.received("5m")[-60:] == [1] * 59 + [1]
    run.info = 4
    run.tick(2.0)
    assert run.received("5m")[-4:] == [1, 1, 2, 2]
    assert run.received("7d")[-2:] == [None, 64]
    assert [mark.count for mark in history_answer(run.history, "24h").marks] == [2]
    assert capfd.readouterr().err == ""


def test_only_what_has_changed_is_written(filled, tmp_path, monkeypatch):
    written = []
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, at: written.append(at) or pwrite(fd, content, at))
    run = restored(tmp_path)
    file = HistoryFile(tmp_path / "server.log", run.history)
    file.load()
    for _ in range(10):
        run.tick()
    file.finish()
    assert len(written) == 10 + 2 + 1 + 1  # rows of a second, of ten, of five minutes, and of half an hour
    assert all((at - HEADER_BYTES) % SLOT.size == 0 for at in written)


def test_damaged_rows_are_left_out_and_said(filled, tmp_path, capfd):
    path = tmp_path / ".fastlog-history-server.log"
    content = bytearray(path.read_bytes())
    place = int(BEGAN + 30) % RANGES["5m"].steps
    content[HEADER_BYTES + place * SLOT.size + 40] ^= 1
    path.write_bytes(content)
    run = restored(tmp_path)
    received = run.received("5m")
    assert received[-60:] == [1] * 29 + [None] + [1] * 30
    assert f"{path} is damaged: 1 points of the history are left out" in capfd.readouterr().err


def test_any_cut_and_any_garbage_is_survived(filled, tmp_path):
    random = Random()
    path = tmp_path / ".fastlog-history-server.log"
    whole = path.read_bytes()
    for _ in range(60):
        content = bytearray(whole[: random.randrange(len(whole) + 1)])
        for _ in range(random.randrange(4)):
            if content:
                at = random.randrange(len(content))
                content[at : at + 100] = random.randbytes(len(content[at : at + 100]))
        path.write_bytes(content)
        received = restored(tmp_path).received("5m")
        assert set(received) <= {None, 1}


def test_a_row_in_the_place_of_another_is_left_out(filled, tmp_path, capfd):
    path = tmp_path / ".fastlog-history-server.log"
    content = bytearray(path.read_bytes())
    at = HEADER_BYTES + int(BEGAN + 30) % 300 * SLOT.size
    content[at : at + SLOT.size] = content[at + SLOT.size : at + 2 * SLOT.size]
    path.write_bytes(content)
    assert restored(tmp_path).received("5m")[-31] is None
    assert "1 points" in capfd.readouterr().err


def test_a_file_of_another_version_is_begun_anew(filled, tmp_path, capfd):
    path = tmp_path / ".fastlog-history-server.log"
    path.write_bytes(HEADER.replace(b"history 1", b"history 2") + path.read_bytes()[len(HEADER) :])
    run = restored(tmp_path)
    assert set(run.received("5m")) == {None}
    assert "is of another version of fastlog; the history begins anew" in capfd.readouterr().err
    run.tick()
    HistoryFile(tmp_path / "server.log", run.history).finish()
    assert restored(tmp_path).received("1h") is not None
    assert path.read_bytes().startswith(HEADER)


@pytest.mark.parametrize("what", ["fifo", "directory", "link", "foreign", "unreadable"])
def test_what_else_has_the_name_is_left_alone_and_said_once(tmp_path, capfd, monkeypatch, what):
    path = tmp_path / ".fastlog-history-server.log"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("of somebody else")
    if what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    elif what == "link":
        path.symlink_to(elsewhere)
    elif what == "foreign":
        path.write_text("of somebody else")
    else:

        def refuse(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    run = Run()
    file = HistoryFile(tmp_path / "server.log", run.history)
    file.load()
    for _ in range(3):
        run.tick()
        file.finish()
    monkeypatch.undo()
    said = capfd.readouterr().err
    assert said.count("the history is kept in memory alone") == said.count("\n") == 1
    assert elsewhere.read_text() == "of somebody else"
    if what == "foreign":
        assert path.read_text() == "of somebody else"
    if what != "directory":
        path.unlink(missing_ok=True)
    else:
        path.rmdir()
    file.finish()
    assert f"the history is kept in {path} again" in capfd.readouterr().err
    assert path.read_bytes().startswith(HEADER)
    assert sum(filter(None, history_answer(restored_at(tmp_path, run), "5m").series.ran_seconds)) == 3.0


def restored_at(directory: Path, run: Run) -> History:
    history = History(run.wall, 0.0)
    HistoryFile(directory / "server.log", history).load()
    return history


def test_a_full_disk_costs_only_what_it_refuses(tmp_path, capfd, monkeypatch):
    run = Run()
    file = HistoryFile(tmp_path / "server.log", run.history)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    run.info += 7
    run.tick()
    file.finish()
    assert "the history is kept in memory alone" in capfd.readouterr().err
    monkeypatch.undo()
    run.tick()
    file.finish()
    assert history_answer(restored_at(tmp_path, run), "5m").series.received[-2:] == [7, 0]
    monkeypatch.setattr(os, "pwrite", refuse)
    run.info += 9
    run.tick()
    file.finish()
    monkeypatch.undo()
    run.tick()
    file.finish()
    assert history_answer(restored_at(tmp_path, run), "5m").series.received[-4:] == [7, 0, 9, 0]


def test_a_file_that_is_removed_is_made_again_with_everything(filled, tmp_path):
    file = HistoryFile(tmp_path / "server.log", filled.history)
    file.finish()
    file.path.unlink()
    filled.tick()
    file.finish()
    assert restored(tmp_path).received("5m")[-60:] == [1] * 60


def test_a_disk_that_hangs_holds_up_nobody_and_has_one_thread(tmp_path, monkeypatch):
    entered, leave = os.pipe(), os.pipe()
    pwrite = os.pwrite

    def hang(fd, content, at):
        os.write(entered[1], b"x")
        os.read(leave[0], 1)
        return pwrite(fd, content, at)

    monkeypatch.setattr(os, "pwrite", hang)
    monkeypatch.setattr(history_file, "END_SEC", 0.0)
    run = Run()
    run.tick()
    file = HistoryFile(tmp_path / "server.log", run.history)
    file.save()
    os.read(entered[0], 1)
    thread = file._thread
    for _ in range(3):
        run.tick()
        file.save()
        file.finish()
        assert file._thread is thread
    monkeypatch.undo()
    os.close(leave[1])
    thread.join()
    file.save()
    file._thread.join()
    assert restored_at(tmp_path, run) is not None
    for fd in (*entered, leave[0]):
        os.close(fd)


def test_the_processor_time_before_the_start_is_not_counted():
    history = History(BEGAN, 50.0, cpu_sec=0.4)
    run = Run(history=history)
    counters = Counters(0.41, 0, [0] * len(LEVELS), [0.0] * len(LOSSES), run.acks.counts)
    history.add(BEGAN, 50.1, counters, None)
    assert history_answer(history, "5m").series.cpu_percent[-1] == 10.0


def test_an_empty_row_is_of_no_step():
    history = History(BEGAN, 0.0)
    assert all(array("d", ring.row(0))[STEP] == NO_STEP for ring in history.rings.values())
