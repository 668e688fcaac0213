"""`rejects.jsonl` under floods, on a disk that refuses, and in a place where it cannot be written."""

import base64
import os
import socket
import subprocess
import sys

import pytest

from tests.helpers.entries import INFO, lines
from tests.helpers.running import Server, eventually, get
from tests.helpers.small_disk import only_root

# Holds a lock on the file as another server does, until its input ends.
LOCK = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def rejected(stats: dict) -> int:
    return sum(stats["rejected"].values())


def kept(note: dict) -> bytes:
    return base64.b64decode(note["base64"]) if "base64" in note else note["text"].encode()


def warning(server: Server) -> str:
    """The warning of the server's health that is about rejected input; empty if there is none."""
    warnings = server.stats()["health"].get("warnings", [])
    return next((text for text in warnings if "rejected input" in text), "")


def test_bytes_noted_in_a_second_are_bounded_and_every_piece_is_counted(start):
    server = start()
    piece = bytes(60_000)
    server.send([piece] * 40)
    stats = eventually(server.stats, lambda stats: rejected(stats) == 40)
    server.stop()
    notes = server.rejects()
    assert len(notes) + stats["disk"]["rejects_not_noted"] == 40
    whole = [note for note in notes if "piece_bytes" not in note]
    assert all(kept(note) == piece for note in whole)
    assert len(whole) >= 12  # three quarters of a second's bytes are for one address
    assert len(notes) < 40
    cut = [note for note in notes if "piece_bytes" in note]
    assert cut
    for note in cut:
        assert note["piece_bytes"] == note["datagram_bytes"] == len(piece)
        assert kept(note) == bytes(len(kept(note)))
        assert 0 < len(kept(note)) < len(piece)


def test_a_piece_that_is_cut_within_a_character_is_still_text(start):
    server = start()
    piece = ("€" * 20_000).encode()
    server.send([piece] * 20)
    eventually(server.stats, lambda stats: rejected(stats) == 20)
    server.stop()
    cut = [note for note in server.rejects() if "piece_bytes" in note]
    assert cut
    for note in cut:
        assert note["piece_bytes"] == len(piece)
        assert set(note["text"]) == {"€"}


def test_a_flood_of_one_address_leaves_notes_to_others(start):
    server = start(host="0.0.0.0")
    others = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    with server.stopped():  # all of it comes within one second
        server.send([b"{\n" * 10_000])
        for address in others:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind((address, 0))
                other.sendto(b"another one's", ("127.0.0.1", server.port))
    stats = eventually(server.stats, lambda stats: rejected(stats) == 10_003)
    server.stop()
    notes = server.rejects()
    sources = [note["source"].partition(":")[0] for note in notes]
    assert len(notes) + stats["disk"]["rejects_not_noted"] == 10_003
    assert 3_000 < sources.count("127.0.0.1") < 5_000
    assert set(others) & set(sources)  # one address in 64 shares with the flood what is allowed


@only_root
def test_what_the_disk_refuses_is_counted_as_not_noted(tmp_path, small_disk, closing):
    server = closing(Server(tmp_path, LOG_DIR=str(small_disk)))
    fill(small_disk)
    server.send(b"bad %d" % number for number in range(1_000))
    stats = eventually(server.stats, lambda stats: rejected(stats) == 1_000)
    noted = (small_disk / "rejects.jsonl").read_bytes().count(b"\n")
    assert noted + stats["disk"]["rejects_not_noted"] == 1_000
    assert stats["disk"]["rejects_not_noted"] > 0
    assert warning(server).endswith(": No space left on device")
    (small_disk / "filler").unlink()
    assert noted_again(server, small_disk)
    assert not warning(server)


def fill(directory) -> None:
    with open(directory / "filler", "wb") as filler:
        try:
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()
        except OSError:
            return


def noted_again(server: Server, directory) -> bool:
    """Sends bad input until it is noted; nothing is noted for the rest of the second in which the disk refused."""
    before = (directory / "rejects.jsonl").read_bytes().count(b"\n")

    def noted() -> bool:
        count = rejected(server.stats())
        server.send([b"bad"])
        eventually(server.stats, lambda stats: rejected(stats) == count + 1)
        return (directory / "rejects.jsonl").read_bytes().count(b"\n") > before

    return eventually(noted, bool)


def test_a_file_that_cannot_be_rotated_does_not_grow_past_its_cap(start, tmp_path):
    (tmp_path / "rejects.jsonl.1").mkdir()
    server = start(REJECTS_MAX_MB="0.02")
    for number in range(1, 7):
        server.send([b"x" * 1_000] * 100)
        stats = eventually(server.stats, lambda stats, number=number: rejected(stats) == number * 100)
    size = (tmp_path / "rejects.jsonl").stat().st_size
    assert size < 10_000 + 256 * 1_200  # its half, and the notes of one drain
    assert (tmp_path / "rejects.jsonl").read_bytes().count(b"\n") + stats["disk"]["rejects_not_noted"] == 600
    assert "directory" in warning(server)


def remove(path) -> None:
    path.unlink()


def cut(path) -> None:
    os.truncate(path, 0)


def move(path) -> None:
    path.rename(path.parent / "moved")
    path.touch()


@pytest.mark.parametrize("change", [remove, cut, move])
def test_after_what_another_program_does_to_it_rejects_are_noted_and_capped(start, tmp_path, change):
    path = tmp_path / "rejects.jsonl"
    server = start(REJECTS_MAX_MB="0.1")
    server.send([b"bad"])
    eventually(server.stats, lambda stats: rejected(stats) == 1)
    change(path)
    server.send([b"x" * 1_000] * 100)
    stats = eventually(server.stats, lambda stats: rejected(stats) == 101)
    assert stats["disk"]["rejects_not_noted"] == 0
    assert server.stop() == 0
    # The live file may be empty: it was rotated with the last note.
    assert any(b"x" * 1_000 in file.read_bytes() for file in tmp_path.glob("rejects.jsonl*"))
    assert sum(file.stat().st_size for file in tmp_path.glob("rejects.jsonl*")) <= 100_000


def directory(path) -> None:
    path.mkdir()


def pipe(path) -> None:
    os.mkfifo(path)


def nothing_but_a_name(path) -> None:
    path.symlink_to(path.parent / "missing" / "rejects.jsonl")


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        (directory, "Is a directory"),
        (pipe, "Not a regular file"),
        (nothing_but_a_name, "No such file or directory"),
    ],
)
def test_without_its_file_the_server_runs_warns_and_tries_again(start, tmp_path, obstacle, reason):
    path = tmp_path / "rejects.jsonl"
    obstacle(path)
    server = start()
    assert server.messages[0] == (
        f"fastlog: cannot write {path}: {reason}; rejected input is only counted until that is possible"
    )
    server.send([b"bad", INFO])
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 1)
    assert (rejected(stats), stats["disk"]["rejects_not_noted"]) == (1, 1)
    assert warning(server) == f"rejected input is counted, but cannot be written down: {reason}"
    assert get(server.dashboard_port, "/health").status == 200

    path.rmdir() if path.is_dir() else path.unlink()
    server.wait_for_message(f"rejected input is written to {path} again")
    assert not warning(server)
    server.send([b"bad again"])
    eventually(server.stats, lambda stats: rejected(stats) == 2)
    assert server.stop() == 0
    assert [note["text"] for note in server.rejects()] == ["bad again"]
    assert server.log() == lines([INFO])


def test_a_rejects_file_of_another_server_is_left_alone_until_that_ends(start, tmp_path, closing):
    path = tmp_path / "rejects.jsonl"
    locked = subprocess.Popen([sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with locked:
        assert locked.stdout.readline() == b"locked\n"
        server = start()
        assert f"fastlog: cannot write {path}: it is in use by another fastlog; " in server.messages[0]
        assert warning(server).endswith(": it is in use by another fastlog")
        server.send([b"bad"])
        eventually(server.stats, lambda stats: rejected(stats) == 1)
    server.wait_for_message(f"rejected input is written to {path} again")
    server.send([b"bad again"])
    eventually(server.stats, lambda stats: rejected(stats) == 2)
    server.stop()
    assert [note["text"] for note in server.rejects()] == ["bad again"]


def test_two_servers_in_one_directory_both_store(start, tmp_path, closing):
    one = start()
    other = closing(Server(tmp_path, LOG_FILENAME="other.log"))
    for server in (one, other):
        server.send([INFO])
        assert server.stop() == 0
    assert (tmp_path / "other.log").read_bytes() == lines([INFO])
