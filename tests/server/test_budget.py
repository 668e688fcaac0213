"""LOG_BACKUPS, LOG_KEEP_MB and LOG_KEEP_DAYS of a real server: what it deletes, and what it says of that."""

import contextlib
import os
import re
import sys
import time

from fastlog.segments import shipped_path
from tests.helpers.entries import entries
from tests.helpers.running import eventually, get, run_fastlog
from tests.helpers.shipping import write_note
from tests.helpers.small_disk import only_root

FILE = {"MAX_LOG_SIZE_MB": "0.01", "FLUSH_COUNT": "1", "LOG_BACKUPS": "1000"}
DAY_SEC = 86_400


def files(directory):
    return [path for path in directory.iterdir() if re.fullmatch(r"server\.log(\.\d+(\.zst)?)?", path.name)]


def size(directory):
    total = 0
    for path in files(directory):
        with contextlib.suppress(FileNotFoundError):  # the server has deleted it meanwhile
            total += path.stat().st_size
    return total


def settled(server, directory, stored=0):
    """The stats when they are those of the files, and at least so many entries are stored."""

    def agree(stats):
        return stats["stored"] >= stored and (
            stats["archives"]["files"],
            stats["archives"]["bytes"] + stats["disk"]["log_bytes"],
        ) == (
            len(files(directory)) - 1,
            size(directory),
        )

    return eventually(server.stats, agree)


def warnings(server):
    return server.stats()["health"].get("warnings", [])


def test_all_files_together_stay_below_log_keep_mb_and_the_rest_is_counted(start, tmp_path):
    server = start(LOG_KEEP_MB="0.1", **FILE)
    sent = entries(3_000)
    server.send(sent)
    settled(server, tmp_path, 3_000)
    eventually(lambda: size(tmp_path), lambda size: 80_000 < size <= 100_000)
    stats = settled(server, tmp_path)
    text = b"".join(entry + b"\n" for entry in sent)
    assert stats["archives"]["deleted_bytes"] == len(text) - size(tmp_path)
    assert stats["archives"]["deleted_files"] == stats["disk"]["rotations"] + 1 - len(files(tmp_path))
    assert text.endswith(server.whole_log())
    found = dict(
        re.findall(r"^(fastlog_archives\w*) (\S+)$", get(server.dashboard_port, "/metrics").text, re.MULTILINE)
    )
    assert float(found["fastlog_archives_deleted_total"]) == stats["archives"]["deleted_files"]
    assert float(found["fastlog_archives"]) == stats["archives"]["files"]
    assert server.stop() == 0


def test_lower_limits_are_applied_at_the_start(start, tmp_path):
    server = start(**FILE)
    server.send(entries(3_000))
    assert server.stop() == 0
    count = len(files(tmp_path))
    assert count > 15
    server = start(**{**FILE, "LOG_BACKUPS": "12"})
    assert len(files(tmp_path)) == 13
    assert settled(server, tmp_path)["archives"]["deleted_files"] == count - 13
    assert server.stop() == 0
    server = start(LOG_KEEP_MB="0.05", **FILE)
    assert size(tmp_path) <= 50_000
    assert server.stop() == 0
    oldest = max(files(tmp_path), key=lambda path: int(path.suffix[1:] if path.name != "server.log" else 0))
    then = time.time() - 3 * DAY_SEC
    os.utime(oldest, (then, then))
    server = start(LOG_KEEP_DAYS="2.5", **FILE)
    assert not oldest.exists()
    assert settled(server, tmp_path)["archives"]["deleted_files"] == 1
    assert server.stop() == 0


def test_an_archive_goes_by_its_age_while_nothing_is_written(start, tmp_path):
    server = start(LOG_KEEP_DAYS="1", **FILE)
    server.send(entries(500))
    stats = settled(server, tmp_path, 500)
    assert stats["archives"]["files"] >= 2
    server.stop()
    last = tmp_path / f"server.log.{stats['archives']['files']}"
    then = time.time() - DAY_SEC + 2  # seconds that are left to it
    os.utime(last, (then, then))
    server = start(LOG_KEEP_DAYS="1", **FILE)
    eventually(last.exists, lambda exists: not exists)
    assert eventually(server.stats, lambda stats: stats["archives"]["deleted_files"] == 1)
    assert server.stop() == 0


# The server with a wall clock that a file sets ahead.
SET_CLOCK = """
import pathlib, runpy, sys, time
real, ahead = time.time, pathlib.Path("ahead")
time.time = lambda: real() + (float(ahead.read_text()) if ahead.exists() else 0)
sys.argv[1:] = ["serve"]
runpy.run_module("fastlog", run_name="__main__")
"""


def test_a_clock_that_jumps_deletes_nothing_at_once(start, tmp_path):
    """Also not at a start; and what is said of it is in the health."""
    set_clock = {"command": [sys.executable, "-c", SET_CLOCK], "LOG_KEEP_DAYS": "7", **FILE}
    server = start(**set_clock)
    server.send(entries(1_000))
    archives = settled(server, tmp_path, 1_000)["archives"]
    (tmp_path / "ahead.new").write_text(str(4_000 * DAY_SEC))
    (tmp_path / "ahead.new").rename(tmp_path / "ahead")
    [warning] = eventually(lambda: warnings(server), len)
    text = f"it is 4,000.0 days ahead: {archives['files']} archives of {tmp_path}/server.log that"
    assert text in warning
    assert settled(server, tmp_path)["archives"] == archives
    assert server.stop() == 0
    assert sum(text in message for message in server.messages) == 1
    server = start(**set_clock)
    [warning] = warnings(server)
    assert text in warning
    (tmp_path / "ahead").unlink()
    assert eventually(lambda: warnings(server), lambda found: not found) == []
    assert settled(server, tmp_path)["archives"] == archives
    assert server.stop() == 0


def test_compressed_archives_are_kept_by_what_they_take(start, tmp_path):
    server = start(LOG_KEEP_MB="0.2", LOG_COMPRESS="zstd", **{**FILE, "MAX_LOG_SIZE_MB": "0.05"})
    server.send(entries(3_000))
    is_done = lambda stats: stats["archives"]["compressed_files"] and not stats["archives"]["waiting_files"]  # noqa: E731
    eventually(server.stats, is_done)
    stats = settled(server, tmp_path)
    assert size(tmp_path) <= 200_000
    assert stats["archives"]["bytes"] < 50_000 * stats["archives"]["files"]
    assert server.stop() == 0


def test_what_is_not_shipped_is_held_beyond_log_keep_mb(start, tmp_path):
    server = start(LOG_KEEP_MB="0.05", SHIP_HOLD_MB="1", **FILE)
    write_note(tmp_path / "server.log", 1)
    server.send(entries(3_000))
    stats = settled(server, tmp_path, 3_000)
    assert (stats["stored"], stats["archives"]["deleted_files"]) == (3_000, 0)
    assert size(tmp_path) > 150_000
    shipped_path(tmp_path / "server.log").unlink()
    eventually(lambda: size(tmp_path), lambda size: size <= 50_000)
    assert settled(server, tmp_path)["losses"]["unshipped"] == 0
    assert server.stop() == 0


@only_root
def test_health_warns_of_a_disk_that_is_full_before_the_budget(start, small_disk):
    server = start(LOG_DIR=str(small_disk), LOG_KEEP_MB="20", MAX_LOG_SIZE_MB="1", LOG_BACKUPS="1000")
    [warning] = warnings(server)
    assert warning == (
        "the file system will be full before LOG_KEEP_MB=20 is reached: the log takes 0.0 MB and may grow to 20.0 MB, "
        "and 8.4 MB are free; set LOG_KEEP_MB to 7.97 or less"
    )
    assert server.stats()["health"]["status"] == "ok"
    server.stop()
    server = start(LOG_DIR=str(small_disk), LOG_KEEP_MB="7.9", MAX_LOG_SIZE_MB="1", LOG_BACKUPS="1000")
    assert warnings(server) == []
    server.stop()
    server = start(LOG_DIR=str(small_disk), MAX_LOG_SIZE_MB="1", LOG_BACKUPS="10")
    [warning] = warnings(server)
    assert "before LOG_BACKUPS=10 archives of up to 1.0 MB are there" in warning
    server.stop()


def test_top_shows_the_archives_in_one_line(start, tmp_path):
    server = start(**{**FILE, "LOG_BACKUPS": "2"})
    server.send(entries(1_000))
    archives = settled(server, tmp_path, 1_000)["archives"]
    done = run_fastlog("top", "--once", "--url", f"http://127.0.0.1:{server.dashboard_port}", cwd=tmp_path)
    [line] = [line for line in done.stdout.splitlines() if "archives" in line]
    assert re.fullmatch(rf" *archives +2, [0-9.]+ kB; {archives['deleted_files']} deleted, .* kB *", line)
    assert server.stop() == 0
