"""Spill files against the real server: nothing is lost, nothing is stored twice, and no other file is touched."""

import errno
import os
import signal
import socket
import subprocess
import sys

import pytest

from fastlog import Client
from fastlog.client import spill, spill_directory
from fastlog.client.replay import CURSOR_ENTRIES
from fastlog.client.spill_file import HEADER_BYTES, SpillFile
from fastlog.errors import ConfigError
from fastlog.limits import SEQUENCE_WINDOW
from tests.helpers.bad_network import BadNetwork
from tests.helpers.running import PATIENCE_SEC, eventually, run_fastlog, run_python
from tests.helpers.small_disk import only_root
from tests.helpers.stored import account, entries, messages


@pytest.fixture
def quick_looks(monkeypatch):
    """Clients look at the directory and try the disk again and again."""
    monkeypatch.setattr(spill, "AGAIN_SEC", 0.05)
    for name in ("LOOK_SEC", "LOOK_TROUBLE_SEC"):
        monkeypatch.setattr(spill_directory, name, 0.05)


def run_program(text: str, *arguments: object) -> None:
    run_python("import os, sys, signal, threading\nfrom fastlog import Client\n" + text, *arguments)


def spill_file(directory, lines: list[bytes]):
    """A file as a program leaves it that was killed."""
    file = SpillFile.create(str(directory / "spill"))
    file.append(lines)
    file.close()
    return directory / file.path


def spill_files(directory) -> list:
    return sorted(directory.glob("spill.*"))


def test_a_server_that_comes_back_gets_all_that_was_kept(start, client, tmp_path):
    """With a spill file no priority entry is lost, and every ordinary one is stored or counted as dropped."""
    server = start()
    port = str(server.port)
    patient = client(server, spill=tmp_path / "spill", queue_entries=1000)
    patient.send("ERROR", "before")
    assert patient.flush()
    server.stop()
    for number in range(4000):
        patient.send("ERROR", f"error {number}")
        patient.send("INFO", f"ordinary {number}")
        if number % 250 == 0:
            eventually(patient.stats, lambda stats: stats.spilled > number - 250)  # noqa: B023
    patient.flush(0.2)
    stats = patient.stats()
    assert stats.refused > 0
    assert stats.spilled > 3000
    server = start(SERVER_PORT=port)
    assert patient.flush(PATIENCE_SEC)
    stats = patient.stats()
    assert stats.acknowledged == 4001
    assert stats.spilled == stats.replayed
    assert set(stats.dropped) == {"INFO"}
    assert list(tmp_path.glob("spill*")) == []
    assert account(server)["losses"]["sequence_gaps"] == 0
    server.stop()
    stored = messages(server)[:-1]
    assert len(stored) == len(set(stored)) == 8001 - stats.dropped["INFO"]
    assert {f"error {number}" for number in range(4000)} < set(stored)
    ordinary = [message for message in stored if message.startswith("ordinary")]
    assert ordinary == [f"ordinary {number}" for number in range(len(ordinary))]


def test_the_next_program_sends_the_entries_that_are_left(start, client, tmp_path, nobody):
    program = """
        client = Client(port=int(sys.argv[1]), spill=sys.argv[2])
        for number in range(2000): client.send("ERROR", f"{sys.argv[3]} {number}")
        client.close(0.1)
        """.replace("\n        ", "\n")
    for name in ("one", "two"):
        run_program(program, nobody, tmp_path / "spill", name)
    assert len(list(tmp_path.glob("spill.*"))) >= 2
    server = start(SERVER_PORT=str(nobody))
    heir = client(server, spill=tmp_path / "spill")
    heir.send("ERROR", "three")
    assert heir.flush(PATIENCE_SEC)
    assert list(tmp_path.glob("spill*")) == []
    assert account(server)["losses"]["sequence_gaps"] == 0
    server.stop()
    stored = messages(server)[:-1]
    assert len(stored) == 4001
    assert set(stored) == {"three", *(f"{name} {number}" for name in ("one", "two") for number in range(2000))}


def test_entries_sent_and_not_acknowledged_are_kept_too(start, client, tmp_path, closing):
    """The ACKs were lost: the server has the entries already, and stores none of them twice."""
    server = start()
    deaf = closing(BadNetwork(server.port, 1, drop=0, repeat=0, reorder=0))
    first = client(deaf, spill=tmp_path / "spill")
    first.send("ERROR", "acknowledged")
    assert first.flush()
    os.kill(server.process.pid, signal.SIGSTOP)
    for number in range(100):
        first.send("ERROR", str(number))
        first.send("INFO", "between")
    assert not first.close(0.3)
    deaf.close()
    os.kill(server.process.pid, signal.SIGCONT)
    assert [len(path.read_bytes().splitlines()) for path in spill_files(tmp_path)] == [101]  # with the header
    heir = client(server, spill=tmp_path / "spill")
    eventually(lambda: list(tmp_path.glob("spill.*")), lambda files: not files)
    assert heir.stats().replayed == 100
    assert account(server)["losses"]["sequence_gaps"] == 0
    server.stop()
    assert sorted(message for message in messages(server) if message.isdigit()) == sorted(map(str, range(100)))


def test_a_replay_over_a_bad_network_looks_like_no_loss(start, client, tmp_path, closing):
    """The file has entries that were sent before, with gaps in their sequences where ordinary entries were."""
    lines = [b'{"sequence":%d,"level":"ERROR","message":"m"}' % sequence for sequence in range(5000, 4000, -3)]
    spill_file(tmp_path, lines)
    server = start()
    network = closing(BadNetwork(server.port, 8, drop=0.3, repeat=0.1, reorder=0.1))
    heir = client(network, spill=tmp_path / "spill")
    eventually(lambda: list(tmp_path.glob("spill.*")), lambda files: not files)
    assert heir.stats().replayed == len(lines)
    assert account(server)["losses"]["sequence_gaps"] == 0


def test_a_long_replay_runs_no_further_ahead_than_the_server_can_follow(start, client, tmp_path, closing):
    lines = [b'{"sequence":%d,"level":"ERROR","message":"m"}' % sequence for sequence in range(5000, 15_000)]
    spill_file(tmp_path, lines)
    server = start()
    network = closing(BadNetwork(server.port, 9, drop=0.2, repeat=0, reorder=0))
    heir = client(network, spill=tmp_path / "spill")
    eventually(lambda: list(tmp_path.glob("spill.*")), lambda files: not files)
    assert heir.stats().replayed == len(lines)
    assert account(server)["losses"]["sequence_gaps"] == 0


def test_lines_that_are_no_entries_cost_no_other_and_are_set_aside(start, client, tmp_path):
    """A program was killed in the middle of a line; another one has written to the file; a disk has lost a page."""
    whole = [b'{"timestamp":"t","sequence":%d,"level":"ERROR","message":"whole %d"}' % (n, n) for n in range(5)]
    foreign = [b"", b"text", bytes(4096), b'{"timestamp":"t","sequ']
    path = spill_file(tmp_path, [*whole[:2], *foreign[:3], *whole[2:]])
    with path.open("ab") as file:
        file.write(foreign[3])
    server = start()
    heir = client(server, spill=tmp_path / "spill")
    [aside] = eventually(lambda: spill_files(tmp_path), lambda files: [f.suffix for f in files] == [".aside"])
    stats = heir.stats()
    assert (stats.replayed, stats.set_aside) == (5, 3)
    assert stats.problem == f"3 entries not acknowledged, kept in {aside}"
    assert aside.read_bytes()[HEADER_BYTES:] == b"\n".join([*foreign[1:], b""])
    server.stop()
    assert messages(server) == [f"whole {n}" for n in range(5)]


def test_a_file_that_cannot_be_taken_over_costs_no_other(start, client, tmp_path):
    """It is reported, and the rest is sent. One that only changes cannot be tried: this user may open everything."""
    for name in ("a", "b"):
        spill_file(tmp_path, [b'{"timestamp":"t","sequence":5,"level":"ERROR","message":"%s"}' % name.encode()])
    odd = tmp_path / "spill.2-0000000b"
    odd.mkdir()
    server = start()
    heir = client(server, spill=tmp_path / "spill")
    eventually(lambda: spill_files(tmp_path), lambda files: files == [odd])
    assert heir.stats().problem == f"{odd} is left alone: it is not a regular file"
    server.stop()
    assert sorted(messages(server)) == ["a", "b"]


def test_files_of_others_are_left_alone(start, client, tmp_path):
    """Whatever they are called, and whatever they are: none is changed, removed, or waited for."""
    entry = b'{"timestamp":"t","sequence":5,"level":"ERROR","message":"m"}'
    (tmp_path / "elsewhere").mkdir()
    whole = spill_file(tmp_path / "elsewhere", [entry])
    header = whole.read_bytes()[:HEADER_BYTES]
    for name in (
        "spill",
        "spill.py",
        "spill.db",
        "spill.1-a",
        "spill.x-0000000a",
        "spill.1-0000000a.txt",
        "spill.1-0000000A",
    ):
        (tmp_path / name).write_bytes(header + entry + b"\n")
    for number, content in enumerate([b"", b"{}\n", entry, b"\n" + header]):
        (tmp_path / f"spill.1-0000000{number}").write_bytes(content)
    (tmp_path / "spill.2-00000000").symlink_to(whole)
    os.link(whole, tmp_path / "spill.2-00000001")
    os.mkfifo(tmp_path / "spill.2-00000002")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "spill.2-00000003"))
    newer = tmp_path / "spill.2-00000004"
    newer.write_bytes(header.replace(b"version 1", b"version 2") + entry + b"\n")

    def look() -> dict:
        paths = [path for path in tmp_path.rglob("*") if "spill" in path.name]
        return {path: (path.lstat(), path.is_file() and not path.is_symlink() and path.read_bytes()) for path in paths}

    before = look()
    assert len(before) == 17
    server = start()
    heir = client(server, spill=tmp_path / "spill")
    heir.send("ERROR", "own")
    assert heir.flush(PATIENCE_SEC)
    assert heir.stats().replayed == 0
    assert heir.stats().problem.startswith(f"{tmp_path}/spill.")
    heir.close()
    assert look() == before
    server.stop()
    assert messages(server) == ["own"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_left_alone(start, client, tmp_path):
    path = spill_file(tmp_path, [b'{"sequence":5,"level":"ERROR","message":"m"}'])
    os.chown(path, 12345, 12345)
    heir = client(start(), spill=tmp_path / "spill")
    told = eventually(lambda: heir.stats().problem, lambda problem: problem)
    assert told == f"{path} is left alone: it belongs to another user"
    assert path.exists()


@pytest.mark.parametrize("path", ["logs", "logs/", "made later/"])
def test_the_files_of_a_directory_are_in_it(client, tmp_path, nobody, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs.txt").write_text("mine")
    patient = client(nobody, spill=path)
    (tmp_path / path).mkdir(exist_ok=True)
    patient.send("ERROR", "m")
    patient.close(0)
    assert [file.name.split(".")[0] for file in (tmp_path / path).iterdir()] == ["spill"]
    assert (tmp_path / "logs.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("path", "what"), [("", "None for no spill files"), (" ", "None for"), ("a\0b", "null character")]
)
def test_a_path_that_is_none_is_refused(path, what):
    """An unset variable of the environment is an empty string."""
    with pytest.raises(ConfigError, match=what):
        Client(spill=path)


def test_a_relative_path_without_a_working_directory_is_refused(tmp_path):
    run_program(
        """
        from fastlog.errors import ConfigError
        os.mkdir(sys.argv[1])
        os.chdir(sys.argv[1])
        os.rmdir(sys.argv[1])
        try:
            Client(spill="x")
        except ConfigError as error:
            assert "use a full path" in str(error), error
        else:
            sys.exit("not refused")
        """.replace("\n        ", "\n"),
        tmp_path / "gone",
    )


def test_a_directory_that_is_missing_is_told_at_once_and_used_when_it_is_there(
    start, client, tmp_path, nobody, quick_looks
):
    server = start()
    patient = client(server, spill=tmp_path / "missing" / "spill")
    told = eventually(lambda: patient.stats().problem, lambda problem: problem)
    assert told == f"cannot write to {tmp_path}/missing/spill: No such file or directory"
    (tmp_path / "missing").mkdir()
    eventually(lambda: patient.stats().problem, lambda problem: not problem)
    server.stop()
    patient.send("ERROR", "kept")
    eventually(patient.stats, lambda stats: stats.refused)
    patient.send("ERROR", "kept on disk")
    eventually(patient.stats, lambda stats: stats.spilled)


def test_a_disk_that_refuses_is_told_and_entries_stay_in_memory(start, client, tmp_path, nobody):
    patient = client(nobody, spill=tmp_path / "missing" / "spill")
    patient.send("ERROR", "sent")
    eventually(patient.stats, lambda stats: stats.refused)
    patient.send("ERROR", "kept")
    start(SERVER_PORT=str(nobody))
    assert patient.flush(PATIENCE_SEC)
    assert patient.stats().acknowledged == 2


def test_the_files_of_a_path_have_a_limit(client, tmp_path, nobody, monkeypatch, quick_looks):
    """All of them together, also those of others. Beyond it, entries wait in memory."""
    monkeypatch.setattr(spill, "SPILL_MAX_BYTES", 100_000)
    spill_file(tmp_path, [poison(n) for n in range(1, 4)])
    patient = client(nobody, spill=tmp_path / "spill")
    for number in range(200):
        patient.send("ERROR", str(number), text="x" * 1000)
        patient.flush(0.001)
    stats = eventually(patient.stats, lambda stats: stats.problem.endswith("limit of 100000 bytes"))
    assert 0 < stats.spilled < 200
    assert stats.spilled + stats.queued == 200
    assert sum(path.stat().st_size for path in spill_files(tmp_path)) < 100_000 + 200_000


@only_root
def test_a_full_disk_is_told_and_entries_stay_in_memory(start, client, small_disk, tmp_path, nobody, quick_looks):
    """Nothing that could not be written whole is left in the file. The trouble is over when there is room again."""
    (small_disk / "others").write_bytes(bytes(7 << 20))
    patient = client(nobody, spill=small_disk / "spill", queue_bytes=64 << 20)
    for number in range(2000):
        patient.send("ERROR", str(number), text="x" * 1000)
    eventually(patient.stats, lambda stats: "No space left on device" in stats.problem)
    assert patient.stats().spilled < 2000
    (small_disk / "others").unlink()
    eventually(patient.stats, lambda stats: stats.spilled + stats.unacknowledged == 2000)
    assert "No space" not in patient.stats().problem
    server = start(SERVER_PORT=str(nobody))
    assert patient.flush(PATIENCE_SEC)
    server.stop()
    assert sorted(messages(server)) == sorted(map(str, range(2000)))


def test_ten_thousand_files_take_no_descriptors(start, tmp_path):
    """Each is opened when its replay comes."""
    for number in range(300):
        spill_file(tmp_path, [b'{"sequence":%d,"level":"ERROR","message":"%d"}' % (number, number)])
    server = start()
    run_program(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        client = Client(port=int(sys.argv[1]), spill=sys.argv[2])
        client.send("ERROR", "own")
        assert client.flush(30)
        assert not client.stats().problem, client.stats()
        """.replace("\n        ", "\n"),
        server.port,
        tmp_path / "spill",
    )
    assert spill_files(tmp_path) == []
    server.stop()
    assert sorted(messages(server)) == sorted(["own", *map(str, range(300))])


def test_a_file_whose_program_is_killed_later_is_found(start, client, tmp_path, nobody, quick_looks):
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD_A_FILE, str(tmp_path / "spill")], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    with owner:
        owner.stdout.readline()
        server = start()
        heir = client(server, spill=tmp_path / "spill")
        heir.send("ERROR", "own")
        assert heir.flush(PATIENCE_SEC)
        assert len(spill_files(tmp_path)) == 1
        owner.kill()
    eventually(heir.stats, lambda stats: stats.replayed == 1)
    eventually(lambda: spill_files(tmp_path), lambda files: not files)


HOLD_A_FILE = """
import sys
from fastlog.client.replay import CURSOR_ENTRIES
from fastlog.client.spill_file import SpillFile
file = SpillFile.create(sys.argv[1])
file.append([b'{"sequence":7,"level":"ERROR","message":"m"}'])
print(flush=True)
sys.stdin.read()
"""


DAEMON = """
import os, sys, time
from fastlog import Client
client = Client(port=int(sys.argv[1]), spill=sys.argv[2])
def eventually(holds):
    while not holds(client.stats()): time.sleep(0.003)
def close_all():
    os.closerange(3, 100)
    return [os.open(f"{sys.argv[2]}.mine{n}", os.O_RDWR | os.O_CREAT) for n in range(30)]
for part in range(3):
    for number in range(500): client.send("ERROR", f"{part} {number}")
    eventually(lambda stats: stats.spilled + stats.unacknowledged == (part + 1) * 500)
    mine = close_all()
print(flush=True)
sys.stdin.readline()
eventually(lambda stats: stats.replayed)
mine = close_all()
assert client.flush(30), client.stats()
client.close()
for fd in mine: os.fstat(fd)
assert client.stats().acknowledged == 1500
"""


def test_a_program_that_closes_all_descriptors_loses_nothing(start, tmp_path, nobody):
    """As one that becomes a daemon does, in an outage and in the replay. Its own files get the numbers."""
    program = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(nobody), str(tmp_path / "spill")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with program:
        assert program.stdout.readline()
        server = start(SERVER_PORT=str(nobody))
        program.communicate(b"\n", timeout=PATIENCE_SEC)
    assert program.returncode == 0
    assert [path.stat().st_size for path in tmp_path.glob("*mine*")] == [0] * 30
    assert not [path for path in spill_files(tmp_path) if "mine" not in path.name]
    server.stop()
    assert sorted(messages(server)) == sorted(f"{part} {number}" for part in range(3) for number in range(500))


# An entry that the server never acknowledges

SMALL = {"BUFFER_SIZE": "8192"}


def lines(numbers, level="ERROR", first=1000) -> list[bytes]:
    """Entries as a client sends them."""
    return [
        b'{"timestamp":"t","sequence":%d,"level":"%s","message":"%d"}' % (first + n, level.encode(), n) for n in numbers
    ]


def poison(sequence: int) -> bytes:
    return b'{"timestamp":"t","sequence":%d,"level":"ERROR","message":"%s"}' % (sequence, b"x" * 20_000)


@pytest.mark.parametrize("places", [[0], [100], [0, 1, 2], range(0, 101, 10)])
def test_an_entry_that_is_never_acknowledged_stops_no_other(start, client, tmp_path, places):
    """It is kept in a file that nobody sends again, and told."""
    written = lines(range(101))
    for place in places:
        written[place] = poison(1000 + place)
    spill_file(tmp_path, written)
    server = start(**SMALL)
    heir = client(server, spill=tmp_path / "spill")
    [aside] = eventually(lambda: spill_files(tmp_path), lambda files: [file.suffix for file in files] == [".aside"])
    stats = heir.stats()
    assert (stats.replayed, stats.set_aside, stats.abandoned) == (101 - len(places), len(places), 0)
    count = "1 entry" if len(places) == 1 else f"{len(places)} entries"
    assert stats.problem == f"{count} not acknowledged, kept in {aside}"
    assert sorted(aside.read_bytes()[HEADER_BYTES:].splitlines()) == sorted(poison(1000 + place) for place in places)
    heir.send("ERROR", "next")
    assert heir.flush(PATIENCE_SEC)
    heir.close()
    later = client(server, spill=tmp_path / "spill")
    later.send("ERROR", "later")
    assert later.flush(PATIENCE_SEC)
    assert spill_files(tmp_path) == [aside]
    server.stop()
    expected = [str(n) for n in range(101) if n not in places]
    assert sorted(messages(server)) == sorted([*expected, "next", "later"])


def test_flush_reports_what_was_set_aside(start, client, tmp_path):
    spill_file(tmp_path, [*lines(range(5)), poison(1005)])
    server = start(**SMALL)
    heir = client(server, spill=tmp_path / "spill")
    heir.send("ERROR", "m")
    assert not heir.flush(PATIENCE_SEC)
    assert heir.stats().set_aside == 1
    heir.send("ERROR", "next")
    assert heir.flush(PATIENCE_SEC)


def test_a_file_of_which_the_server_acknowledges_nothing_is_set_aside(start, client, tmp_path):
    """All entries of the file are of a level that the server does not acknowledge; it does acknowledge new ones."""
    spill_file(tmp_path, lines(range(1), "WARNING"))
    server = start()
    heir = client(server, spill=tmp_path / "spill")
    number = iter(range(1_000_000))

    def stats():
        heir.send("ERROR", str(next(number)))
        heir.flush(0.2)
        return heir.stats()

    eventually(stats, lambda stats: stats.set_aside == 1)
    assert heir.stats().replayed == 0
    server.stop()
    stored = [entry for entry in entries(server) if entry["level"] == "WARNING"]
    assert len(stored) < 15


def test_what_was_set_aside_can_be_sent_with_fastlog_send(start, client, tmp_path):
    """To a server that takes it: the header is an entry, too."""
    spill_file(tmp_path, [*lines(range(3)), poison(1003)])
    server = start(**SMALL)
    client(server, spill=tmp_path / "spill")
    [aside] = eventually(lambda: spill_files(tmp_path), lambda files: [file.suffix for file in files] == [".aside"])
    server.stop()
    server = start()
    options = ["send", "--json", "--server", "127.0.0.1", "--port", str(server.port)]
    done = run_fastlog(*options, cwd=tmp_path, stdin=aside.read_bytes())
    assert done.returncode == 0, done.stderr
    server.stop()
    header, sent = entries(server)[-2:]
    assert (header["level"], header["message"]) == ("DEBUG", "fastlog spill file, version 1")
    assert (sent["timestamp"], sent["level"], sent["message"]) == ("t", "ERROR", "x" * 20_000)


def test_files_set_aside_have_a_limit(start, client, tmp_path, monkeypatch):
    """Beyond it, entries are lost, counted and told."""
    monkeypatch.setattr(spill, "ASIDE_MAX_BYTES", 45_000)
    spill_file(tmp_path, [poison(1000), *lines(range(1, 10)), *map(poison, range(1010, 1020))])
    server = start(**SMALL)
    heir = client(server, spill=tmp_path / "spill")
    stats = eventually(heir.stats, lambda stats: stats.set_aside + stats.abandoned == 11)
    assert (stats.set_aside, stats.abandoned) == (2, 9)
    assert stats.problem.startswith(f"9 entries not acknowledged and lost: {tmp_path}/spill.*.aside have reached")
    [aside] = eventually(lambda: spill_files(tmp_path), lambda files: len(files) == 1)
    assert 40_000 < aside.stat().st_size < 45_000


@only_root
def test_a_full_disk_keeps_nothing_that_waits_to_be_set_aside_from_the_others(
    start, client, small_disk, tmp_path, quick_looks
):
    spill_file(small_disk, [poison(1000), *lines(range(1, 100))])
    (small_disk / "others").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    server = start(**SMALL)
    heir = client(server, spill=small_disk / "spill")
    eventually(heir.stats, lambda stats: "No space left" in stats.problem)
    assert eventually(heir.stats, lambda stats: stats.replayed == 99).set_aside == 0
    (small_disk / "others").unlink()
    eventually(heir.stats, lambda stats: stats.set_aside == 1)
    eventually(heir.stats, lambda stats: "not acknowledged, kept in" in stats.problem)


# Files that cannot be read, servers that come and go


def test_a_file_that_cannot_be_read_to_its_end_costs_no_other(start, client, faulty_disk, quick_looks):
    """It is reported, left, and sent when it can be read again."""
    bad = spill_file(faulty_disk.directory, lines(range(20_000)))
    good = spill_file(faulty_disk.directory, lines(range(100), first=10**6))
    with bad.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.read(HEADER_BYTES)
    faulty_disk.fail("read", errno.EIO, bad.name)
    server = start()
    heir = client(server, spill=faulty_disk.directory / "spill")
    eventually(heir.stats, lambda stats: stats.problem == f"cannot use {bad}: Input/output error")
    eventually(good.exists, lambda exists: not exists)
    faulty_disk.mend("read")
    eventually(heir.stats, lambda stats: stats.replayed >= 20_100)
    eventually(lambda: spill_files(faulty_disk.directory), lambda files: not files)
    server.stop()
    assert len(entries(server)) == 20_100


@pytest.mark.parametrize("step", [1, -7])
def test_a_server_that_restarts_in_the_middle_of_a_replay_counts_no_loss(start, client, tmp_path, step):
    """It has lost its memory of the sequences, and takes the first one that it sees as the start."""
    number = 60_000
    spill_file(tmp_path, lines(range(500_000, 500_000 + number * step, step)))
    server = start()
    port = str(server.port)
    heir = client(server, spill=tmp_path / "spill")
    # The stats may be half a second old, and the replay may be over by then.
    eventually(lambda: len(server.log()), lambda size: size > 200_000)
    server.signal(signal.SIGKILL)
    server.wait()
    assert spill_files(tmp_path)
    server = start(SERVER_PORT=port)
    eventually(lambda: spill_files(tmp_path), lambda files: not files)
    stats = heir.stats()
    assert (stats.replayed, stats.set_aside) == (number, 0)
    assert account(server)["losses"]["sequence_gaps"] == 0
    server.stop()
    assert len(messages(server)) == number + 1


# A long replay


def test_a_replay_that_is_interrupted_repeats_little(start, tmp_path, client):
    """The program is killed in the middle, again and again. What it repeats is far less than the server recognises."""
    number = 20_000
    spill_file(tmp_path, lines(range(number)))
    server = start()
    for part in (0.3, 0.6):
        with subprocess.Popen([sys.executable, "-c", REPLAY, str(server.port), str(tmp_path / "spill")]) as program:
            eventually(server.stats, lambda stats: stats["stored"] > number * part)  # noqa: B023
            program.kill()
    stored = server.stats()["stored"]
    heir = client(server, spill=tmp_path / "spill")
    heir.send("ERROR", "after")
    assert heir.flush(PATIENCE_SEC)
    assert heir.stats().replayed <= number - stored + CURSOR_ENTRIES + SEQUENCE_WINDOW
    assert spill_files(tmp_path) == []
    assert account(server)["losses"]["sequence_gaps"] == 0
    server.stop()
    assert sorted(messages(server)) == sorted([*map(str, range(number)), "after", "after the others"])


REPLAY = """
import sys
from fastlog import Client
client = Client(port=int(sys.argv[1]), spill=sys.argv[2])
sys.stdin.read()
while True: client.flush(60)
"""


def test_a_replay_leaves_the_receive_buffer_to_others(start, client, tmp_path):
    """On this machine the kernel knows how full the server's buffer is."""
    spill_file(tmp_path, lines(range(20_000)))
    server = start(RCVBUF_SIZE="65536")
    heir = client(server, spill=tmp_path / "spill")
    heir.send("ERROR", "m")
    assert heir.flush(PATIENCE_SEC)
    stats = account(server)
    assert (stats["losses"]["kernel_drops"], stats["losses"]["sequence_gaps"]) == (0, 0)
    assert heir.stats().replayed == 20_000


@pytest.mark.parametrize("pack", [True, False])
def test_new_entries_do_not_wait_for_a_replay(start, client, tmp_path, pack):
    spill_file(tmp_path, lines(range(50_000)))
    server = start()
    heir = client(server, spill=tmp_path / "spill", pack=pack)
    eventually(heir.stats, lambda stats: stats.replayed)
    for _ in range(10):
        before = heir.stats().acknowledged - heir.stats().replayed
        heir.send("ERROR", "new")
        eventually(heir.stats, lambda stats: stats.acknowledged - stats.replayed > before)  # noqa: B023
    assert heir.stats().replayed < 50_000


def test_sequences_of_any_order_make_no_gaps(start, client, tmp_path):
    """In a file of entries that were sent, sequences go down, over more than the server can follow. A file may have
    several parts, and the first of them is acknowledged."""
    numbers = [*range(3000, 4000), *range(90_000, 80_000, -7), *range(50_000, 50_100), *range(60_000, 60_010, 2)]
    path = spill_file(tmp_path, lines(numbers))
    server = start()
    heir = client(server, spill=tmp_path / "spill")
    eventually(path.exists, lambda exists: not exists)
    assert heir.stats().replayed == len(numbers)
    assert heir.stats().set_aside == 0
    assert account(server)["losses"]["sequence_gaps"] == 0
    server.stop()
    assert sorted(messages(server)[:-1]) == sorted(map(str, numbers))


def test_spill_files_of_a_running_program_are_left_alone(start, client, tmp_path, nobody):
    owner = client(nobody, spill=tmp_path / "spill")
    for number in range(2000):
        owner.send("ERROR", str(number))
    eventually(owner.stats, lambda stats: stats.spilled)
    server = start()
    other = client(server, spill=tmp_path / "spill")
    other.send("ERROR", "m")
    assert other.flush(PATIENCE_SEC)
    assert len(list(tmp_path.glob("spill.*"))) == 1
    assert account(server)["total_received"] == 2
