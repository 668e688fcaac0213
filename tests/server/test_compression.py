"""Archives are compressed by a process beside the server, whatever happens meanwhile."""

import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from fastlog.segments import identity_of
from tests.helpers.archives import in_force, names_in, text_of
from tests.helpers.running import eventually, until

LIVE = "server.log"
FILE = {
    "LOG_COMPRESS": "zstd",
    "MAX_LOG_SIZE_MB": "0.01",
    "FLUSH_COUNT": "1",
    "LOG_BACKUPS": "50",
}  # about 160 lines in each


def lines(first, count):
    return [
        b'{"level":"INFO","message":"number %06d","sequence":%d}' % (number, number)
        for number in range(first, first + count)
    ]


def archives(directory, ending):
    """By number."""
    names = re.compile(rf"server\.log\.(\d+){re.escape(ending)}")
    found = {}
    for name in os.listdir(directory):
        if match := names.fullmatch(name):
            found[int(match[1])] = directory / name
    return dict(sorted(found.items()))


def text_in_force(directory):
    """All lines, the oldest first."""
    assert not archives(directory, "").keys() & archives(directory, ".zst").keys()
    return b"".join(map(text_of, in_force(directory / LIVE)))


def settled(server):
    return eventually(
        server.stats, lambda stats: stats["archives"]["waiting_files"] == 0 and stats["disk"]["rotations"]
    )


def test_archives_are_compressed(start, tmp_path):
    server = start(**FILE)
    sent = lines(0, 2_000)
    server.send(sent)
    eventually(server.stats, lambda stats: stats["stored"] == 2_000)
    until(lambda: archives(tmp_path, ".zst") and not archives(tmp_path, ""), "the end of compressing")
    stats = settled(server)
    assert text_in_force(tmp_path).splitlines() == sent
    found = archives(tmp_path, ".zst")
    assert stats["archives"]["compressed_files"] == len(found) == stats["disk"]["rotations"]
    assert stats["archives"]["failure"] is None
    assert [identity_of(path).segment for path in found.values()] == list(range(len(found), 0, -1))
    assert server.stop() == 0
    assert names_in(tmp_path) == {"server.log", "rejects.jsonl", *(path.name for path in found.values())}


def process_of(server):
    """The pid of the process that compresses, once it has begun."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")

    def begun():
        for pid in children.read_text().split():
            with contextlib.suppress(OSError):
                if b"fastlog.archive.process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        return 0

    return eventually(begun, bool)


def fill(server, count=2_000):
    sent = lines(0, count)
    server.send(sent)
    eventually(server.stats, lambda stats: stats["stored"] == count)
    return sent


def all_compressed(directory):
    until(lambda: archives(directory, ".zst") and not archives(directory, ""), "the end of compressing")


def test_without_it_archives_stay_as_they_are_and_compressed_ones_take_part(start, tmp_path):
    server = start(**FILE)
    sent = fill(server)
    all_compressed(tmp_path)
    assert server.stop() == 0
    server = start(**FILE | {"LOG_COMPRESS": "none"})
    more = lines(2_000, 500)
    server.send(more)
    eventually(server.stats, lambda stats: stats["stored"] == 500)
    assert text_in_force(tmp_path).splitlines() == sent + more
    assert min(archives(tmp_path, ".zst")) > max(archives(tmp_path, ""))
    server.stop()
    start(**FILE | {"LOG_COMPRESS": "none", "LOG_BACKUPS": "1"}).stop()
    assert [*archives(tmp_path, ""), *archives(tmp_path, ".zst")] == [1]


def test_what_the_environment_asks_of_python_is_not_for_the_process(start, tmp_path):
    """With PYTHONINSPECT it would take the lines of the archive for a program."""
    (tmp_path / "startup.py").write_text("raise SystemExit(3)")
    odd = {"INSPECT": "1", "STARTUP": str(tmp_path / "startup.py"), "PROFILEIMPORTTIME": "1"}
    odd |= {"DEVMODE": "1", "UNBUFFERED": "1"}
    server = start(**FILE, **{f"PYTHON{name}": value for name, value in odd.items()})
    sent = fill(server)
    all_compressed(tmp_path)
    assert settled(server)["archives"]["failure"] is None
    assert text_in_force(tmp_path).splitlines() == sent
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_server_ends_the_process(start, tmp_path, number):
    server = start(**FILE)
    sent = fill(server)
    process = process_of(server)
    os.kill(process, signal.SIGSTOP)  # so it would never end by itself
    server.signal(number)
    server.wait()
    if number == signal.SIGTERM:
        assert not (tmp_path / f"{LIVE}.zst.new").exists()
    until(lambda: not Path(f"/proc/{process}").exists(), "the end of the process")
    assert start(**FILE).stop() == 0
    assert not (tmp_path / f"{LIVE}.zst.new").exists()
    assert text_in_force(tmp_path).splitlines() == sent


def test_a_process_that_does_not_continue_holds_nothing_up(start, tmp_path):
    server = start(**FILE)
    fill(server)
    process = process_of(server)
    os.kill(process, signal.SIGSTOP)
    rotations = server.stats()["disk"]["rotations"]
    server.send(lines(2_000, 2_000))
    stats = eventually(server.stats, lambda stats: stats["stored"] == 4_000)
    assert stats["disk"]["rotations"] > rotations
    os.kill(process, signal.SIGCONT)
    eventually(server.stats, lambda stats: stats["archives"]["compressed_files"] > 0)
    server.stop()
    assert text_in_force(tmp_path).splitlines() == lines(0, 4_000)


def test_a_process_that_was_killed_is_said(start, tmp_path):
    server = start(**FILE)
    sent = fill(server)
    process = process_of(server)
    os.kill(process, signal.SIGKILL)
    message = server.wait_for_message("cannot compress")
    assert "the process was ended by a signal: Killed; it stays as it is; trying again every 60 s" in message
    stats = eventually(server.stats, lambda stats: stats["archives"]["failure"])
    assert stats["archives"]["failure"] == "the process was ended by a signal: Killed"
    assert stats["health"]["warnings"] == ["archives are not compressed: the process was ended by a signal: Killed"]
    assert not (tmp_path / f"{LIVE}.zst.new").exists()
    server.stop()
    assert text_in_force(tmp_path).splitlines() == sent


def test_odd_files_with_such_names_are_left_alone(start, tmp_path):
    for number in range(1, 5):
        (tmp_path / f"{LIVE}.{number}").write_bytes(b'{"level":"INFO"}\n')
    (tmp_path / f"{LIVE}.1.zst").mkdir()
    os.mkfifo(tmp_path / f"{LIVE}.2.zst")
    (tmp_path / f"{LIVE}.3.zst").symlink_to("/nowhere")
    os.mkfifo(tmp_path / f"{LIVE}.5")
    (tmp_path / f"{LIVE}.6").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(b'{"level":"INFO"}\n')
    server = start(**FILE)
    until((tmp_path / f"{LIVE}.4.zst").exists, "the one that can be compressed")
    fill(server, 400)
    eventually(server.stats, lambda stats: stats["disk"]["rotations"] >= 2 and not stats["archives"]["waiting_files"])
    assert server.stats()["archives"]["failure"] is None
    server.stop()
    assert (tmp_path / f"{LIVE}.1.zst").is_dir()
    assert (tmp_path / "elsewhere").exists()
    assert len([path for path in tmp_path.iterdir() if path.is_fifo()]) == 2


def test_another_program_renames_the_archive_meanwhile(start, tmp_path):
    """As logrotate does."""
    server = start(**FILE | {"MAX_LOG_SIZE_MB": "1"})
    sent = lines(0, 100)
    server.send(sent)
    eventually(server.stats, lambda stats: stats["stored"] == 100)
    os.rename(tmp_path / LIVE, tmp_path / f"{LIVE}.1")
    server.signal(signal.SIGHUP)
    server.wait_for_message("log file reopened")
    # The next look for archives of other programs may be a minute away.
    server.stop()
    server = start(**FILE)
    process = process_of(server)
    os.kill(process, signal.SIGSTOP)
    os.rename(tmp_path / f"{LIVE}.1", tmp_path / f"{LIVE}.2")
    os.kill(process, signal.SIGCONT)
    all_compressed(tmp_path)
    assert list(archives(tmp_path, ".zst")) == [2]
    assert text_in_force(tmp_path).splitlines() == sent
    server.stop()


def test_the_directory_is_removed_meanwhile(start, tmp_path):
    logs = tmp_path / "logs"
    server = start(**FILE, LOG_DIR="logs")
    fill(server)
    process = process_of(server)
    os.kill(process, signal.SIGSTOP)
    shutil.rmtree(logs)
    os.kill(process, signal.SIGCONT)
    server.wait_for_message("was removed or cut by another program")
    server.send(lines(2_000, 2_000))
    eventually(server.stats, lambda stats: stats["stored"] == 4_000)
    all_compressed(logs)
    server.stop()
