"""Entries, or levels, that the server does not acknowledge: they are not sent again and again, nothing waits for them,
and the client says so. And a client that was stopped for a while."""

import signal
import subprocess
import sys
import time

from fastlog import Client
from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC, eventually, run_python
from tests.helpers.stored import messages

WITH_WARNING = ("WARNING", "ERROR", "CRITICAL")
TOO_LONG = "x" * 20_000  # for a server with this setting
SHORT_BUFFER = {"BUFFER_SIZE": "8192"}


def received(server) -> int:
    """Entries that reached the server, repetitions included."""
    return server.stats()["total_received"]


def send_both(sender: Client, level: str, number: int, other: str) -> None:
    """Entries of a level, and after every tenth one of another, which is acknowledged."""
    before = sender.stats().acknowledged
    for i in range(number):
        sender.send(level, f"{level} {i}")
        if i % 10 == 9:
            sender.send(other, f"{other} {i}")
            eventually(sender.stats, lambda stats: stats.acknowledged > before + i // 10)  # noqa: B023


def test_a_level_that_the_server_does_not_acknowledge_is_noticed_said_and_not_repeated(start, client):
    server = start()
    sender = client(server, priority_levels=WITH_WARNING)
    number, until = 0, time.monotonic() + PATIENCE_SEC
    while "does not acknowledge" not in sender.stats().problem and time.monotonic() < until:
        send_both(sender, "WARNING", 10, "ERROR")
        number += 10
    noticed = sender.stats()
    assert "does not acknowledge WARNING" in noticed.problem
    assert "PRIORITY_LEVELS" in noticed.problem

    send_both(sender, "WARNING", 2000, "ERROR")
    number += 2000
    stats = eventually(sender.stats, lambda stats: stats.sent == number * 11 // 10)
    assert stats.problem == noticed.problem
    assert stats.acknowledged == number // 10
    assert stats.sent_unacknowledged >= noticed.sent_unacknowledged + 2000
    assert stats.sent_unacknowledged + stats.unacknowledged == number
    eventually(lambda: received(server), lambda received: received >= stats.sent)
    assert received(server) < stats.sent * 1.3
    server.stop()
    assert messages(server).count("WARNING 1999") == 1
    assert set(messages(server)) >= {f"WARNING {i}" for i in range(2000)}


def test_a_level_that_is_acknowledged_again_is_kept_and_repeated_again(start, client):
    server = start(PRIORITY_LEVELS="CRITICAL")
    sender = client(server)

    while "does not acknowledge ERROR" not in sender.stats().problem:
        send_both(sender, "ERROR", 10, "CRITICAL")
    server.stop()
    start(SERVER_PORT=str(server.port))
    sender.send("ERROR", "asks")
    eventually(sender.stats, lambda stats: not stats.problem)
    assert sender.flush(PATIENCE_SEC)
    stats = eventually(sender.stats, lambda stats: stats.unacknowledged == 0)
    assert stats.given_up == 0


def send_and_wait(sender: Client, number: int) -> None:
    """Entries that the server acknowledges, one after the other."""
    before = sender.stats().acknowledged
    for i in range(number):
        sender.send("ERROR", "short")
        eventually(sender.stats, lambda stats: stats.acknowledged > before + i)  # noqa: B023


def test_an_entry_that_the_server_never_takes_is_tried_seldom_told_and_given_up(start, client):
    server = start(**SHORT_BUFFER)
    sender = client(server, give_up_sec=3)
    send_and_wait(sender, 20)
    sender.send("ERROR", TOO_LONG)
    while "but not 1 of up to" not in sender.stats().problem:
        send_and_wait(sender, 1)
    assert not sender.flush()  # it does not wait for that entry
    assert sender.stats().retransmitted < 20
    stats = eventually(sender.stats, lambda stats: stats.given_up == 1)
    assert (stats.problem, stats.queued, stats.retransmitted < 20) == ("", 0, True)
    assert TOO_LONG.encode() in stats.given_up_first[0]


PASSED_OVER_AT_THE_END = """
import sys, time
from fastlog import Client

client = Client(port=int(sys.argv[1]))
client.send("ERROR", "x" * 20_000)
while "but not 1 of up to" not in client.stats().problem:
    client.send("ERROR", "m")
    client.flush(0.1)
"""


def test_an_entry_that_the_server_passes_over_is_told_at_the_end_of_the_program(start):
    server = start(**SHORT_BUFFER)
    told = run_python(PASSED_OVER_AT_THE_END, server.port).stderr
    assert told.startswith(
        "fastlog: 1 log entry was not delivered: the server acknowledges later entries, but not 1 of"
    )


def test_a_window_full_of_entries_that_the_server_never_takes_holds_up_no_other(start, client):
    server = start(**SHORT_BUFFER)
    sender = client(server, queue_bytes=1 << 27)
    send_and_wait(sender, 1)
    for _ in range(1000):
        sender.send("ERROR", TOO_LONG)
    send_and_wait(sender, 50)
    assert sender.stats().sent_bytes < 2 * 1000 * len(TOO_LONG)


def test_a_server_on_this_machine_that_acknowledges_nothing_holds_up_nothing(start, client):
    server = start(PRIORITY_LEVELS="NONE")
    sender = client(server, window=16)
    for i in range(1000):
        sender.send("ERROR", str(i))
    stats = eventually(sender.stats, lambda stats: "does not acknowledge ERROR" in stats.problem)
    stats = eventually(sender.stats, lambda stats: stats.sent == 1000)
    assert stats.acknowledged == 0
    assert not sender.flush(0.1)
    eventually(lambda: received(server), lambda number: number >= 1000)
    assert received(server) < 1200
    server.stop()
    assert set(messages(server)) == set(map(str, range(1000)))


STOPPED = """
import sys
from fastlog import Client
client = Client(port=int(sys.argv[1]), give_up_sec=2)
for number in range(50): client.send("ERROR", str(number))
client.flush(0.1)
print("sent", flush=True)
sys.stdin.readline()
client.flush(0.1)
print(client.stats().given_up, flush=True)
client.flush(20)
print(client.stats().acknowledged, client.stats().given_up, flush=True)
"""


def test_time_in_which_the_program_was_stopped_gives_up_nothing(start, closing):
    """The server, too, runs again only after the program."""
    server = start()
    with server.stopped():
        program = subprocess.Popen(
            [sys.executable, "-c", STOPPED, str(server.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=BASE_ENVIRONMENT,
            text=True,
        )
        with program:
            assert program.stdout.readline() == "sent\n"
            program.send_signal(signal.SIGSTOP)
            time.sleep(2.5)  # it is to be stopped for longer than give_up_sec
            program.send_signal(signal.SIGCONT)
            program.stdin.write("\n")
            program.stdin.flush()
            assert program.stdout.readline() == "0\n"
            server.signal(signal.SIGCONT)
            assert program.stdout.readline() == "50 0\n"
