"""Forks, also those that Python does not see: of a C extension, of a server that embeds Python."""

import socket

import pytest

from tests.helpers.python_programs import run_program, stored

C_FORK = """
import ctypes
from pathlib import Path
def sleeping():
    "How often each of the other threads has slept; None if one is awake."
    threads = [thread for thread in Path("/proc/self/task").iterdir() if thread.name != str(os.getpid())]
    try:
        if all((thread / "wchan").read_text().startswith("poll") for thread in threads):
            return [(thread / "status").read_text().partition("ctxt_switches")[2] for thread in threads]
    except OSError: pass  # it has just ended
def wait_until_others_sleep():
    "Python hangs in the child if one of the other threads waited for the GIL at the fork."
    since, slept = time.monotonic(), None
    while slept is None or time.monotonic() < since + 0.02:
        now = sleeping()
        if now is None or now != slept: since, slept = time.monotonic(), now
def c_fork():
    wait_until_others_sleep()
    return ctypes.PyDLL(None).fork()  # it keeps the GIL, and calls none of Python's hooks
def in_child(work, fork=c_fork):
    "Runs `work` in a child; its error is one of the program."
    if fork() == 0:
        try:
            work()
            sys.stdout.flush()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"in the child: {error!r}".encode())
            os._exit(1)
def end_of_children():
    codes = []
    try:
        while True: codes.append(os.wait()[1])
    except ChildProcessError: pass
    assert not any(codes), codes
"""


@pytest.mark.parametrize("before", ["unused", "used", "closed"])
def test_children_that_python_does_not_know_of_deliver_their_own_entries(start, before):
    server = start()
    program = """
        client = Client("127.0.0.1", port, queue_entries=100_000)
        before = sys.argv[2]
        if before != "unused":
            client.send("ERROR", "parent")
            assert client.flush(20)
        if before == "closed": client.close()
        def child():
            if before == "closed":
                client.send("ERROR", "dropped")
                assert client.stats().dropped == {"ERROR": 1}
                return
            assert client.stats().queued == 0
            for number in range(100): client.send("ERROR", f"child {os.getpid()} {number}")
            assert client.flush(20), client.stats()
            stats = client.stats()
            assert (stats.sent, stats.acknowledged, stats.queued, stats.problem) == (100, 100, 0, ""), stats
            assert client.close()
        for _ in range(3): in_child(child)
        end_of_children()
        assert client.flush(20)
        """
    run_program(program, server.port, before, first=C_FORK)
    messages = stored(server)
    assert len(messages) == len(set(messages))
    expected = {"unused": 300, "used": 301, "closed": 1}[before]
    assert len(messages) == expected


@pytest.mark.parametrize("call", ["flush()", "stats()", "wait_for_room(1)", "close()"])
def test_a_call_that_waits_is_the_first_in_the_child(call):
    program = f"""
        client = Client("127.0.0.1", int(sys.argv[2]), queue_entries=10)
        for _ in range(10): client.send("ERROR", "parent")
        def child():
            began = time.monotonic()
            result = client.{call}
            assert time.monotonic() - began < 2
            assert result, result
        in_child(child)
        end_of_children()
        assert client.stats().queued == 10
        client.close(0)
        """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:  # the parent's entries stay in memory
        silent.bind(("127.0.0.1", 0))
        run_program(program, 0, silent.getsockname()[1], first=C_FORK)


@pytest.mark.parametrize("fork", ["_Fork", "clone"])
def test_children_that_the_c_library_does_not_know_of_deliver_their_own_entries(start, fork):
    server = start()
    program = """
        import platform
        def bare_fork():
            libc = ctypes.PyDLL(None)
            wait_until_others_sleep()
            if sys.argv[2] == "_Fork": return libc._Fork()
            return libc.syscall({"x86_64": 56, "aarch64": 220}[platform.machine()], int(signal.SIGCHLD), 0, 0, 0, 0)
        def child():
            client.send("ERROR", "child")
            assert client.flush(20), client.stats()
            in_child(lambda: (client.send("ERROR", "grandchild"), client.close()), bare_fork)
            end_of_children()
        client = Client("127.0.0.1", port)
        client.send("ERROR", "parent")
        assert client.flush(20)
        in_child(child, bare_fork)
        end_of_children()
        client.send("ERROR", "parent again")
        assert client.close()
        """
    run_program(program, server.port, fork, first=C_FORK)
    assert stored(server) == ["parent", "child", "grandchild", "parent again"]


def test_grandchildren_and_both_kinds_of_forks(start):
    server = start()
    program = """
        client = Client("127.0.0.1", port)
        client.send("ERROR", "0")
        def log(name):
            client.send("ERROR", name)
            assert client.flush(20), client.stats()
        def child():
            log("1")
            in_child(lambda: (log("1.1"), in_child(lambda: log("1.1.1"), os.fork), end_of_children()), os.fork)
            in_child(lambda: (log("1.2"), in_child(lambda: log("1.2.1")), end_of_children()))
            end_of_children()
        in_child(child)
        end_of_children()
        log("after")
        """
    run_program(program, server.port, first=C_FORK)
    assert sorted(stored(server)) == ["0", "1", "1.1", "1.1.1", "1.2", "1.2.1", "after"]


def test_a_fork_in_the_middle_of_a_call_leaves_the_entry_to_the_parent(start):
    server = start()
    program = """
        client = Client("127.0.0.1", port)
        pids = []
        class Forks:
            def __init__(self, fork): self.fork = fork
            def __str__(self):
                pids.append(self.fork())
                return "text"
        for fork in (os.fork, c_fork):
            client.send("ERROR", "parent", value=Forks(fork))
            if pids[-1] == 0:
                client.send("ERROR", "child")
                os._exit(0 if client.flush(20) else 1)
            end_of_children()
        assert client.flush(20)
        """
    run_program(program, server.port, first=C_FORK)
    assert sorted(stored(server)) == ["child"] * 2 + ["parent"] * 2


@pytest.mark.parametrize("fork", ["c_fork", "os.fork"])
def test_the_parent_is_not_disturbed_by_a_child(start, tmp_path, fork):
    """Neither its wake-up nor its spill files nor its sockets are shared."""
    server = start()
    program = f"""
        client = Client("127.0.0.1", port, spill=sys.argv[2])
        client.send("ERROR", "parent")
        assert client.flush(20)
        def child():
            for number in range(50): client.send("ERROR", f"child {{number}}")
            assert client.flush(20)
            assert client.close()
        in_child(child, {fork})
        for number in range(50): client.send("ERROR", f"parent {{number}}")
        end_of_children()
        assert client.flush(20), client.stats()
        assert client.stats().problem == ""
        """
    run_program(program, server.port, tmp_path / "spill", first=C_FORK)
    assert len(stored(server)) == 101


def test_a_child_that_ends_by_itself_delivers(start):
    """Without `flush`; it is a program of its own."""
    server = start()
    program = """
        client = Client("127.0.0.1", port)
        client.send("ERROR", "parent")
        if c_fork() == 0:
            client.send("ERROR", "child")
        else:
            end_of_children()
        """
    run_program(program, server.port, first=C_FORK)
    assert sorted(stored(server)) == ["child", "parent"]


def test_threads_of_a_child_begin_anew_at_once(start):
    server = start()
    program = """
        client = Client("127.0.0.1", port)
        client.send("ERROR", "parent")
        assert client.flush(20)
        def child():
            barrier = threading.Barrier(8)
            def work(thread):
                barrier.wait()
                for number in range(100): client.send("ERROR", f"{thread} {number}")
            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert client.flush(20), client.stats()
            assert client.stats().acknowledged == 800, client.stats()
        for _ in range(3): in_child(child)
        end_of_children()
        """
    run_program(program, server.port, first=C_FORK)
    assert len(stored(server)) == 2401


def test_what_a_process_has_logged_is_sent_before_it_forks_and_ends_at_once(start):
    """As a process does that becomes a daemon."""
    server = start()
    run_program(
        """
        client = Client(port=port)
        for number in range(20):
            if os.fork() == 0:
                client.send("INFO", f"info {number}")
                client.send("ERROR", f"error {number}")
                os.fork()
                os._exit(0)
            os.wait()
        """,
        server.port,
    )
    assert sorted(stored(server)) == sorted(f"{level} {n}" for level in ("info", "error") for n in range(20))


def test_a_signal_handler_that_ends_the_program_before_a_fork_ends_it():
    program = """
        from fastlog.client.thread import ClientThread
        client = Client("127.0.0.1", port)
        signal.signal(signal.SIGALRM, lambda *_: sys.exit(0))
        ClientThread.send_until = lambda *_: signal.raise_signal(signal.SIGALRM)
        pid = os.fork()
        if pid == 0: os._exit(0)
        os.waitpid(pid, 0)
        os._exit(1)
        """
    run_program(program, 9)
