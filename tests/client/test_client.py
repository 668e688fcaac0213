"""`fastlog.Client` against the real server: over a bad network, while the server is away, and in programs that fork, end,
use signals and asyncio."""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from fastlog import Client
from fastlog.errors import ConfigError
from tests.helpers.bad_network import BadNetwork
from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC, Server, eventually, run_python
from tests.helpers.stored import account, entries, messages


def run_program(text: str, *arguments: object) -> None:
    run_python("import os, sys, signal, threading\nfrom fastlog import Client\n" + text, *arguments)


# Entries


def test_an_entry_as_it_is_stored(start, client):
    server = start()
    shop = client(server, app="shop", hostname="web1")
    assert shop.send("ERROR", "disk full", disk="sda", free=0.5, tags=["a", {"b": None}]) is None
    shop.send_entry({"level": "warn", "message": "m", "host": "other", "app": "x", "timestamp": "then"})
    assert shop.flush()
    server.stop()
    first, second = entries(server)
    assert first.pop("timestamp").startswith("20")
    sequence = first.pop("sequence")
    assert first == {
        "level": "ERROR", "message": "disk full", "disk": "sda", "free": 0.5, "tags": ["a", {"b": None}],
        "host": "web1", "app": "shop",
    }  # fmt: skip
    assert second == {
        "level": "warn", "message": "m", "host": "other", "app": "x", "timestamp": "then", "sequence": sequence + 1
    }  # fmt: skip


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def cycle() -> list:
    inner: list = []
    inner += [inner, inner]
    return inner


def nested(depth: int) -> list:
    inner: list = []
    for _ in range(depth):
        inner = [inner]
    return inner


ODD = [
    ({"message": 5}, {"message": "5"}),
    ({"level": None}, {"level": "None"}),
    ({"message": "half \ud83d, whole \U0001f600, split \ud83d\ude00"}, {"message": "half \ufffd, whole 😀, split 😀"}),
    ({"message": b"caf\xe9"}, {"message": "caf\ufffd"}),
    ({"x": float("nan"), "y": float("inf")}, {"x": None, "y": None}),
    ({"x": 2**70, "y": -(2**70)}, {"x": 2**70, "y": -(2**70)}),
    ({1: 2, None: 3, ("a", 1): 4, "\udc80": 5}, {"1": 2, "None": 3, "('a', 1)": 4, "\ufffd": 5}),
    ({"x": {1: {None: "\udc80"}}}, {"x": {"1": {"None": "\ufffd"}}}),
    ({"x": 1j, "y": ValueError("why"), "z": {3}}, {"x": "1j", "y": "why", "z": [3]}),
    ({"x": Unprintable()}, {"x": "<Unprintable: str() raised RuntimeError>"}),
    ({"sequence": "own"}, {"sequence_": "own"}),
    ({"timestamp": 1.5, "host": None, "app": ["a"]}, {"timestamp": "1.5", "app": "['a']"}),
    ({"self": 1, "entry": 2, "args": 3}, {"self": 1, "entry": 2, "args": 3}),
    ({"x": [{}] * 100}, {"x": [{}] * 100}),
    ({"x": "[" * 100}, {"x": "[" * 100}),
]


def test_odd_entries_are_made_valid(start, client):
    server = start()
    odd_client = client(server)
    for odd, _ in ODD:
        odd_client.send_entry({"level": "INFO", "message": "m", **odd})
    assert odd_client.flush()
    server.stop()
    stored = entries(server)
    assert len(stored) == len(ODD)
    for entry, (_, expected) in zip(stored, ODD, strict=True):
        assert entry == {**entry, **expected}
        assert isinstance(entry["sequence"], int)


def test_values_too_deep_or_endless_become_text_where_they_are(start, client):
    server = start()
    odd_client = client(server)
    values = [[cycle()], nested(62), nested(63), nested(5000), [nested(40)] * 3]
    for number, value in enumerate(values):
        odd_client.send("INFO", str(number), x=value)
    assert odd_client.flush()
    server.stop()
    assert messages(server) == ["0", "1", "2", "3", "4"]
    assert [entry.get("x") == value for entry, value in zip(entries(server), values, strict=True)] == [
        False, True, False, False, True
    ]  # fmt: skip


def test_objects_that_are_hardly_entries_are_sent_all_the_same(start, client):
    server = start()
    odd_client = client(server)
    for entry in ({}, [], [("message", "pairs")], None, {"message": {}}):
        odd_client.send_entry(entry)
    assert odd_client.flush()
    server.stop()
    assert messages(server) == ["", "", "pairs", "None", "{}"]


def test_values_are_those_of_the_call(start, client):
    server = start()
    mutable_client = client(server)
    value = ["then"]
    mutable_client.send("INFO", "m", x=value)
    value[0] = "later"
    assert mutable_client.flush()
    server.stop()
    assert [entry["x"] for entry in entries(server)] == [["then"]]


@pytest.mark.parametrize("datagram_bytes", [None, 1472])
def test_an_entry_too_long_for_a_datagram_is_shortened(start, client, datagram_bytes):
    server = start()
    long = client(server, datagram_bytes=datagram_bytes)
    long.send("ERROR", "x" * 100_000)
    assert long.flush()
    server.stop()
    [entry] = entries(server)
    assert (entry["message"][:10], entry["truncated"]) == ("x" * 10, True)
    assert entry["original_bytes"] > 100_000
    assert long.stats().shortened == 1


def test_entries_are_packed_and_keep_their_order(start, client):
    server = start()
    packing = client(server, datagram_bytes=1472)
    for number in range(1000):
        packing.send("ERROR" if number % 10 == 0 else "INFO", str(number))
    assert packing.flush()
    server.stop()
    assert messages(server) == [str(number) for number in range(1000)]
    assert packing.stats().datagrams < 300


def test_without_packing_an_entry_is_a_datagram(start, client):
    server = start()
    plain = client(server, pack=False)
    for number in range(100):
        plain.send("INFO", str(number))
    assert plain.flush()
    server.stop()
    assert "received 100 entries in 100 datagrams" in server.account


@pytest.mark.parametrize(
    "options",
    [
        {"host": "ä" * 100}, {"port": 0}, {"port": 65536}, {"queue_entries": 0}, {"queue_bytes": 0}, {"send_buffer": 0}, {"window": 0},
        {"window": 1025}, {"give_up_sec": -1}, {"give_up_sec": float("nan")}, {"pack_delay_sec": 2},
        {"datagram_bytes": 10}, {"datagram_bytes": 65508}, {"priority_levels": ["LOUD"]}, {"app": "x" * 1001},
        {"host": ""}, {"host": None}, {"port": "http"}, {"port": None}, {"port": 1.5}, {"port": True}, {"app": 5},
        {"priority_levels": None}, {"priority_levels": [5]}, {"priority_levels": "ERROR,LOUD"}, {"spill": 5},
        {"pack": "perhaps"}, {"give_up_sec": "nan"}, {"hostname": "x" * 1001},
    ],
)  # fmt: skip
def test_wrong_arguments_rejected(options):
    with pytest.raises(ConfigError, match=next(iter(options))) as caught:
        Client(**options)
    assert isinstance(caught.value, ValueError)


def test_options_may_come_from_the_environment_as_they_are(start, closing):
    server = start(PRIORITY_LEVELS="INFO,WARNING")
    options = {"queue_entries": "5", "give_up_sec": "2.5", "pack": "false", "priority_levels": "info, WARN"}
    stats = closing(Client(port=str(server.port), **options))
    stats.send("WARNING", "m")
    assert stats.flush()
    assert stats.stats().acknowledged == 1


# Networks and servers


def test_errors_come_through_a_bad_network_once_and_the_rest_is_accounted_for(start, client, closing):
    seed = 20261125
    server = start()
    network = closing(BadNetwork(server.port, seed, drop=0.3, repeat=0.1, reorder=0.1))
    lossy = client(network, datagram_bytes=1472)
    lossy.send("ERROR", "first")
    assert lossy.flush(PATIENCE_SEC)  # a server cannot know of losses before the first entry that arrives
    for number in range(10_000):
        if number % 4 == 0:
            lossy.send("INFO", f"ordinary {number}")
        lossy.send("ERROR", str(number))
        if number % 500 == 0:
            lossy.wait_for_room()
    assert lossy.flush(100)
    stats = lossy.stats()
    assert (stats.acknowledged, stats.given_up, stats.dropped) == (10_001, 0, {})
    assert stats.retransmitted > 1000
    network.close()
    stats = account(server)
    server.stop()
    stored = entries(server)
    errors = [entry["message"] for entry in stored if entry["level"] == "ERROR"]
    assert sorted(errors) == sorted(["first", *map(str, range(10_000))])
    ordinary = {entry["message"] for entry in stored if entry["level"] == "INFO"}
    assert 0 < stats["losses"]["sequence_gaps"] == 2_500 - len(ordinary)


def test_ordinary_entries_wait_for_a_server_that_refuses(start, client, nobody):
    waiting = client(nobody, queue_entries=100)
    for number in range(1000):
        waiting.send("INFO", str(number))
    eventually(waiting.stats, lambda stats: stats.refused >= 2)
    dropped = waiting.stats().dropped["INFO"]
    server = start(SERVER_PORT=str(nobody))
    assert waiting.flush(PATIENCE_SEC)
    server.stop()
    assert messages(server) == [str(number) for number in range(1000 - dropped)]
    assert waiting.stats().lost == 0


def test_a_full_queue_drops_entries_by_lane_and_counts_them_by_level(client, nobody):
    full = client(nobody, queue_entries=100)
    for _ in range(300):
        full.send("INFO", "m")
        full.send("debug", "m")
        full.send("LOUD", "m")
    for _ in range(60):
        full.send("CRITICAL", "m")
    stats = full.stats()
    assert "CRITICAL" not in stats.dropped
    # Datagrams may have left before it was known that nobody listens.
    assert sum(stats.dropped.values()) + stats.sent_once + stats.queued == 960
    assert stats.queued <= 100 + 60
    assert set(stats.dropped) == {"INFO", "DEBUG", "OTHER"}
    full.send("ERROR", "x" * 60_000)
    bounded = client(nobody, queue_bytes=100_000)
    for _ in range(10):
        bounded.send("ERROR", "x" * 60_000)
    assert bounded.stats().dropped == {"ERROR": 8}
    assert not full.close(0)
    assert full.stats().queued == 0


def test_a_server_on_this_machine_is_not_sent_more_than_it_has_room_for(start, client):
    server = start(RCVBUF_SIZE="60000")
    os.kill(server.process.pid, signal.SIGSTOP)
    eager = client(server, queue_entries=50_000)
    for number in range(20_000):
        eager.send("INFO", str(number))
    assert not eager.flush(0.3)
    os.kill(server.process.pid, signal.SIGCONT)
    assert eager.flush(PATIENCE_SEC)
    server.stop()
    assert "dropped by the kernel 0" in server.account
    assert messages(server) == [str(number) for number in range(20_000)]


def test_levels_that_the_server_does_not_acknowledge_hold_up_nothing_for_long(start, client):
    server = start(PRIORITY_LEVELS="NONE")
    unheard = client(server, window=2, give_up_sec=60)
    for number in range(10):
        unheard.send("ERROR", "unheard")
        unheard.send("INFO", str(number))
    eventually(unheard.stats, lambda stats: stats.sent == 12)
    eventually(server.stats, lambda stats: stats["level_distribution"].get("INFO") == 10)
    unheard.close(0)
    assert unheard.stats().given_up == 2
    assert unheard.stats().dropped == {"ERROR": 8}


def test_entries_not_acknowledged_in_time_are_given_up(client, closing):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        hopeful = client(silent.getsockname()[1], give_up_sec=0.2)
        hopeful.send("ERROR", "lost")
        assert not hopeful.flush(PATIENCE_SEC)
        stats = hopeful.stats()
    assert (stats.sent, stats.given_up, stats.acknowledged, stats.queued) == (1, 1, 0, 0)
    assert json.loads(stats.given_up_first[0])["message"] == "lost"


def test_a_name_that_does_not_resolve_delays_nobody(closing):
    lost = closing(Client("no.such.host.invalid"))
    lost.send("ERROR", "m")
    assert not lost.flush(0.5)
    stats = eventually(lost.stats, lambda stats: stats.problem)
    assert stats.problem.startswith("cannot find the server 'no.such.host.invalid': ")
    assert stats.queued == 1
    assert not lost.close(0)
    assert lost.stats().dropped == {"ERROR": 1}


def test_a_name_with_several_addresses_is_served_by_any(start, closing, monkeypatch, nobody):
    """For example, `localhost` means ::1 first, and the server listens on 127.0.0.1 alone."""
    server = start()
    addresses = [("127.0.0.1", nobody), ("127.0.0.1", server.port)]
    found = [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    several = closing(Client("several.example"))
    several.send("ERROR", "m")
    assert several.flush(PATIENCE_SEC)


def test_ipv6(tmp_path, closing):
    server = closing(Server(tmp_path, "::1"))
    six = closing(Client("::1", server.port))
    for number in range(5000):
        six.send("ERROR", str(number))
    assert six.flush(PATIENCE_SEC)
    server.stop()
    assert messages(server) == [str(number) for number in range(5000)]


def test_strangers_answers_mean_nothing(client):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as odd:
        odd.bind(("127.0.0.1", 0))
        odd.settimeout(PATIENCE_SEC)
        curious = client(odd.getsockname()[1])
        curious.send("ERROR", "m")
        datagram, address = odd.recvfrom(65536)
        sequence = json.loads(datagram)["sequence"]
        for answer in (
            b"",
            b"{}",
            b"\xff" * 600,
            b'{"ack":true,"sequence":%d}' % (sequence + 1),
            b'{"ack":false,"sequence":%d}' % sequence,
        ):
            odd.sendto(answer, address)
        assert not curious.flush(0.1)
        odd.sendto(b'{"ack":true,"sequence":%d}' % sequence, address)
        assert curious.flush(PATIENCE_SEC)


# Programs


def test_a_closed_client_counts_later_entries(start, client):
    server = start()
    closed = client(server)
    closed.send("INFO", "m")
    assert closed.close()
    assert closed.close()
    closed.send("ERROR", "late")
    assert closed.flush()
    assert closed.wait_for_room()
    assert closed.stats().dropped == {"ERROR": 1}
    server.stop()
    assert messages(server) == ["m"]


def test_a_client_that_nobody_holds_any_more_sends_what_it_has(start):
    server = start()
    before = set(os.listdir("/proc/self/fd"))
    Client(port=server.port).send("INFO", "m")
    eventually(server.stats, lambda stats: stats["total_received"] == 1)
    Client(port=server.port)
    eventually(lambda: set(os.listdir("/proc/self/fd")), lambda now: now <= before)


def test_no_entry_no_thread_no_socket(nobody):
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with Client(port=nobody) as idle:
        assert idle.flush()
        assert threading.active_count() == before[0]
        assert len(os.listdir("/proc/self/fd")) == before[1]


def test_the_end_of_a_program_delivers_queued_entries(start):
    server = start()
    run_program(
        'client = Client(port=int(sys.argv[1]))\nfor n in range(3000): client.send("INFO", str(n))', server.port
    )
    run_program('Client(port=int(sys.argv[1])).send("ERROR", "last")\nraise SystemExit(0)', server.port)
    server.stop()
    assert messages(server) == [*map(str, range(3000)), "last"]


def test_entries_of_atexit_functions_are_delivered(start):
    server = start()
    program = """
        import atexit
        client = Client(port=int(sys.argv[1]))
        atexit.register(client.send, "ERROR", "from atexit")
        """.replace("\n        ", "\n")
    run_program(program, server.port)
    server.stop()
    assert messages(server) == ["from atexit"]


def test_the_end_of_a_program_waits_no_longer_than_its_deadline(nobody):
    run_program(
        'import fastlog.client.lifecycle as lifecycle; lifecycle.EXIT_SEC = 0.1\nClient(port=int(sys.argv[1])).send("ERROR", "m")',
        nobody,
    )


def test_without_a_private_function_of_cpython_the_end_of_a_program_is_the_same(start):
    server = start()
    program = (
        "import threading; del threading._register_atexit; from fastlog import Client\n"
        'import sys; Client(port=int(sys.argv[1])).send("ERROR", "last")'
    )
    run_python(program, server.port)
    server.stop()
    assert messages(server) == ["last"]


def test_a_fork_sends_nothing_twice(start):
    """The parent alone sends the entries queued at the fork. Parent and children continue as senders of their own."""
    server = start()
    program = """
        client = Client(port=int(sys.argv[1]), queue_entries=100_000)
        for number in range(5000): client.send("INFO", f"queued {number}")
        for child in range(3):
            if os.fork() == 0:
                for number in range(1000): client.send("ERROR", f"child {child} {number}")
                assert client.flush(20)
                assert client.stats().acknowledged == client.stats().sent == 1000
                os._exit(0)
        for number in range(1000): client.send("ERROR", f"parent {number}")
        assert client.flush(20)
        for _ in range(3): assert os.wait()[1] == 0
        """.replace("\n        ", "\n")
    run_program(program, server.port)
    stats = eventually(server.stats, lambda stats: stats["stored"] == 9000)
    assert stats["losses"]["sequence_gaps"] == 0
    assert len(stats["top_senders"]) == 4
    server.stop()
    stored = messages(server)
    assert len(stored) == len(set(stored)) == 9000


def test_a_child_closes_the_parents_files(start):
    server = start()
    program = """
        client = Client(port=int(sys.argv[1]))
        client.send("ERROR", "m")
        assert client.flush(20)
        before = set(os.listdir("/proc/self/fd"))
        if os.fork() == 0:
            # the two sockets of the parent and the two ends of its pipe are closed
            os._exit(0 if len(os.listdir("/proc/self/fd")) == len(before) - 4 else 1)
        assert os.wait()[1] == 0
        """.replace("\n        ", "\n")
    run_program(program, server.port)


def test_forks_while_other_threads_log(start):
    server = start()
    program = """
        client = Client(port=int(sys.argv[1]))
        done = threading.Event()
        def log():
            while not done.is_set(): client.send("INFO", "busy")
        threads = [threading.Thread(target=log, daemon=True) for _ in range(2)]
        for thread in threads: thread.start()
        for child in range(20):
            if os.fork() == 0:
                client.send("ERROR", f"child {child}")
                os._exit(0 if client.flush(20) else 1)
            assert os.wait()[1] == 0
        done.set()
        for thread in threads: thread.join()
        """.replace("\n        ", "\n")
    run_program(program, server.port)
    server.stop()
    assert {message for message in messages(server) if message != "busy"} == {f"child {n}" for n in range(20)}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(start, tmp_path, method):
    """Its children call no atexit functions. The entries they have queued are delivered all the same."""
    server = start()
    (tmp_path / "program.py").write_text(
        "import multiprocessing, sys\n"
        "from fastlog import Client\n"
        "def work(number): Client(port=int(sys.argv[1])).send('ERROR', f'child {number}')\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method(sys.argv[2])\n"
        "    work('parent')\n"
        "    children = [multiprocessing.Process(target=work, args=(n,)) for n in range(2)]\n"
        "    for child in children: child.start()\n"
        "    for child in children: child.join()\n"
        "    sys.exit(any(child.exitcode for child in children))\n"
    )
    arguments = [sys.executable, str(tmp_path / "program.py"), str(server.port), method]
    subprocess.run(arguments, env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=True)
    server.stop()
    assert sorted(messages(server)) == ["child 0", "child 1", "child parent"]


def test_gunicorn_with_four_workers_forked_from_a_loaded_application(start, tmp_path):
    server = start()
    (tmp_path / "application.py").write_text(
        "import os\n"
        "from fastlog import Client\n"
        f"client = Client(port={server.port}, app='web')\n"
        "client.send('ERROR', 'loaded')\n"
        "def application(environ, start_response):\n"
        "    client.send('ERROR', environ['PATH_INFO'], pid=os.getpid())\n"
        "    start_response('200 OK', [])\n"
        "    return [str(os.getpid()).encode()]\n"
    )
    options = ["--workers", "4", "--preload", "--bind", "127.0.0.1:0", "--no-control-socket"]
    gunicorn = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "application:application"],
        cwd=tmp_path, env=BASE_ENVIRONMENT, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        listening = next(line for line in gunicorn.stderr if b"Listening at" in line).decode()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", listening)[1])
        booted = (line for line in gunicorn.stderr if b"Booting worker" in line)
        assert len(list(itertools.islice(booted, 4))) == 4
        pids = {request(port, number) for number in range(200)}
    finally:
        gunicorn.terminate()
        gunicorn.communicate(timeout=PATIENCE_SEC)
    assert len(pids) > 1
    server.stop()
    stored = entries(server)
    assert sorted(entry["message"] for entry in stored) == sorted(["loaded", *(f"/{n}" for n in range(200))])
    assert {str(entry["pid"]) for entry in stored if "pid" in entry} == pids


def request(port: int, number: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=PATIENCE_SEC) as answer:
        return answer.read().decode()


def test_signal_handlers_may_log_at_any_moment(start):
    """Timer signals interrupt `send`, `flush` and the start of the thread; each handler logs, too."""
    server = start()
    program = """
        client = Client(port=int(sys.argv[1]), queue_entries=1_000_000)
        handled = 0
        def handler(number, frame):
            global handled
            handled += 1
            client.send("ERROR", f"handler {handled}")
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
        sent = 0
        while handled < 300:
            client.send("INFO", "interrupted", number=sent)
            sent += 1
            if sent % 1000 == 0: client.flush(0.01)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert client.flush(20)
        stats = client.stats()
        assert (stats.sent, stats.acknowledged, stats.queued, stats.dropped) == (sent + handled, handled, 0, {}), stats
        """.replace("\n        ", "\n")
    run_program(program, server.port)


def test_objects_that_log_while_they_are_encoded(start, client):
    server = start()
    inner = client(server)

    class Logs:
        def __str__(self) -> str:
            inner.send("INFO", "from str()")
            return "text"

    inner.send("INFO", "m", value=Logs())
    assert inner.flush()
    server.stop()
    assert messages(server) == ["from str()", "m"]


def test_many_threads(start, client):
    server = start()
    shared = client(server, queue_entries=100_000)

    def work(thread: int) -> None:
        for number in range(2000):
            shared.send("INFO", f"{thread} {number}")

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.flush()
    assert shared.stats().sent == 16_000
    server.stop()
    for thread in range(8):
        mine = [message for message in messages(server) if message.startswith(f"{thread} ")]
        assert mine == [f"{thread} {number}" for number in range(2000)]


def test_asyncio_is_never_blocked(client, nobody):
    """No server, a full queue: between two steps of another task, `send` is called 1,000 times."""
    full = client(nobody, queue_entries=10)

    async def main() -> list[float]:
        times = []
        for _ in range(20):
            times.append(time.monotonic())
            for _ in range(1000):
                full.send("ERROR", "m")
            await asyncio.sleep(0)
        return times

    with asyncio.Runner(debug=True) as runner:
        runner.get_loop().slow_callback_duration = 5
        assert len(runner.run(main())) == 20


def test_the_package_is_imported_lazily():
    program = (
        "import fastlog, sys; assert fastlog.__version__; assert not {'fastlog.client', 'msgspec'} & set(sys.modules)"
    )
    run_python(program)
    with pytest.raises(AttributeError, match="nonsense"):
        __import__("fastlog").nonsense  # noqa: B018
