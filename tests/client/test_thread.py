"""The client's thread, whatever ends it: no entry that was accepted is lost, and the next one finds a thread."""

import os
from pathlib import Path

import pytest

from fastlog import Client, Handler
from tests.helpers.python_programs import run_program, stored
from tests.helpers.running import PATIENCE_SEC, eventually

INTERRUPT = """
def interrupt_at(line, *files):
    "Raises an error before that line, counted in the files whose paths have one of these texts."
    left = line
    def trace(frame, event, argument):
        nonlocal left
        if not any(file in frame.f_code.co_filename for file in files): return None
        left -= event == "line"
        if left == 0: raise KeyboardInterrupt
        return trace
    return trace
"""


def test_a_process_without_a_free_descriptor_delivers_as_soon_as_there_is_one(start):
    server = start()
    program = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True: held.append(os.dup(0))
        except OSError: pass
        client = Client("127.0.0.1", port)
        client.send("ERROR", "first")
        assert not client.flush(0.2)
        assert "Too many open files" in client.stats().problem, client.stats()
        for fd in held: os.close(fd)
        for number in range(1000): client.send("ERROR", str(number))
        assert client.flush(20), client.stats()
        assert client.stats().dropped == {}
        """
    run_program(program, server.port)
    assert stored(server) == ["first", *map(str, range(1000))]


def test_a_thread_that_cannot_be_started_is_started_later_and_those_who_wait_do_its_work(start):
    server = start()
    program = """
        import resource
        client = Client("127.0.0.1", port)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 20), resource.RLIM_INFINITY))  # no room for a stack
        client.send("ERROR", "without a thread")
        assert "cannot start" in client.stats().problem, client.stats()
        assert client.flush(20)
        client.send("ERROR", "still without one")
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until = time.monotonic() + 20
        while client.stats().acknowledged < 2 and time.monotonic() < until:
            client.send("INFO", "another call")
            time.sleep(0.01)
        assert client.stats().acknowledged == 2, client.stats()
        """
    run_program(program, server.port)
    assert [message for message in stored(server) if message != "another call"] == [
        "without a thread", "still without one"
    ]  # fmt: skip


# Where an error may come in a turn, and how the program brings it about.
FAILURES = {
    "before anything": "worker.Worker.turn = failing(worker.Worker.turn, before=True)",
    "at the end of the turn": "worker.Worker.turn = failing(worker.Worker.turn)",
    "when entries are fetched": "send_queue.SendQueue.fetch = failing(send_queue.SendQueue.fetch)",
    "before a datagram is made": "send_queue.SendQueue.next = failing(send_queue.SendQueue.next)",
    "after a datagram is sent": "peer.Peer.send = failing(peer.Peer.send)",
    "after it was noted": "send_queue.SendQueue.sent_now = failing(send_queue.SendQueue.sent_now)",
    "when ACKs come": "link.Link.acks = failing(link.Link.acks)",
    "in the wait": "worker.Worker.wait = failing(worker.Worker.wait)",
    "in the look-up": "lookup.Resolver.refresh = failing(lookup.Resolver.refresh, before=True)",
}


@pytest.mark.parametrize("error", ["MemoryError", "SystemExit", "OSError"])
@pytest.mark.parametrize("where", FAILURES)
def test_an_error_in_a_turn_loses_nothing_and_ends_nothing(start, where, error):
    server = start()
    program = f"""
        from fastlog.client import link, lookup, peer, send_queue, worker
        failed = []
        def failing(function, before=False):
            def fails(*arguments):
                if before and len(failed) < 2:
                    failed.append(1)
                    raise {error}("by chance")
                result = function(*arguments)
                if len(failed) < 2 and client.stats().sent + client.stats().queued:
                    failed.append(1)
                    raise {error}("by chance")
                return result
            return fails
        client = Client("127.0.0.1", port)
        {FAILURES[where]}
        for number in range(200): client.send("ERROR", str(number))
        assert client.flush(20), client.stats()
        until, later = time.monotonic() + 20, 0
        while later < 1 or (failed != [1, 1] and time.monotonic() < until):  # an idle wait fails when an entry ends it
            client.send("ERROR", "later")
            later += 1
            assert client.flush(20)
        stats = client.stats()
        assert failed == [1, 1] and "by chance" in stats.problem, stats
        print(later)
        assert (stats.queued, stats.queued_bytes, stats.unacknowledged, stats.dropped) == (0, 0, 0, {{}}), stats
        """
    later = int(run_program(program, server.port).stdout)
    assert sorted(stored(server)) == sorted([*map(str, range(200)), *["later"] * later])


def test_an_error_that_lasts_keeps_the_entries_and_costs_no_time(start):
    server = start()
    program = """
        from fastlog.client import worker
        turn, lasts = worker.Worker.turn, True
        def fails(*arguments):
            if lasts: raise ValueError("lasts")
            turn(*arguments)
        worker.Worker.turn = fails
        client = Client("127.0.0.1", port)
        client.send("ERROR", "kept")
        assert not client.flush(1)
        assert time.process_time() < 1, time.process_time()
        lasts = False
        assert client.flush(20)
        """
    run_program(program, server.port)
    assert stored(server) == ["kept"]


@pytest.mark.parametrize("call", ["flush", "close", "stats", "wait_for_room", "__exit__"])
def test_the_garbage_collector_may_call_in_the_clients_own_thread(start, call):
    """An object's `__del__` waits for the client. If the client's thread collects it, the thread would wait for itself."""
    server = start()
    arguments = "None, None, None" if call == "__exit__" else ""
    program = f"""
        from fastlog.client import worker
        class Owner:
            def __del__(self):
                began = time.monotonic()
                client.{call}({arguments})
                took.append(time.monotonic() - began)
                where.append(threading.get_ident())
        took, where, owners = [], [], []
        turn = worker.Worker.turn
        def collects(*arguments):
            owners.clear()
            turn(*arguments)
        worker.Worker.turn = collects
        client = Client("127.0.0.1", port)
        owners.append(Owner())
        client.send("ERROR", "message")
        client.flush(20)
        assert took[0] < 1 and where[0] != threading.get_ident(), (took, where)
        """
    run_program(program, server.port)
    assert stored(server) == ["message"]


def test_an_interrupted_start_is_made_up_for(start):
    """The error of a signal handler may come before each line of the first call."""
    server = start()
    program = """
        interrupted = 0
        while interrupted < 100:
            client = Client("127.0.0.1", port)
            sys.settrace(interrupt_at(interrupted + 1, "/fastlog/"))
            try:
                client.send("ERROR", "perhaps")
                break
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                sys.settrace(None)
            client.send("ERROR", str(interrupted))
            assert client.flush(1), (interrupted, client.stats())
            assert client.close()
        assert interrupted > 1, interrupted
        """
    run_program(program, server.port, first=INTERRUPT)
    assert "1" in stored(server)


def test_an_error_of_a_signal_handler_in_a_call_that_does_the_work_leaves_nothing_undone(start):
    server = start()
    program = """
        interrupted, is_done = 0, False
        while not is_done and interrupted < 1000:
            client = Client("127.0.0.1", port)
            client._thread._start_at = float("inf")  # as if no thread could be started
            client.send("ERROR", "m")
            sys.settrace(interrupt_at(interrupted + 1, "client/thread.py", "client/lookup.py"))
            try:
                is_done = client.flush(20)
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                sys.settrace(None)
            assert client.flush(5), (interrupted, client.stats())
            assert client.close()
        assert is_done and interrupted > 10, interrupted
        """
    run_program(program, server.port, first=INTERRUPT)


CLOSES = """
    def replace():
        "Closes everything, as a program that becomes a daemon does, and opens other files under the numbers."
        os.closerange(3, 1024)
        files = [os.open(f"{sys.argv[2]}/own{n}", os.O_RDWR | os.O_CREAT) for n in range(20)]
        pipes = [os.pipe() for _ in range(4)]
        sockets = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(4)]
        return files, pipes, sockets
    def check(own):
        "The program's own files are open, and nobody has written to them."
        files, pipes, sockets = own
        for fd in files: assert os.fstat(fd).st_size == 0
        for reading, writing in pipes:
            os.set_blocking(reading, False)
            try: assert not os.read(reading, 100)
            except BlockingIOError: pass
            os.write(writing, b"x")
        for one, other in sockets:
            for each in (one, other):
                each.setblocking(False)
                try: assert not each.recv(100)
                except BlockingIOError: pass
            one.send(b"x")
    """


@pytest.mark.parametrize("moment", ["asleep", "under way", "first used after it", "closed", "dropped", "at the end"])
def test_a_program_that_closes_all_descriptors_gets_no_byte_in_its_own_files(start, tmp_path, moment):
    server = start()
    program = (
        CLOSES
        + """
    client = Client("127.0.0.1", port, spill=sys.argv[2] + "/spill" if sys.argv[3] == "closed" else None)
    if sys.argv[3] != "first used after it":
        client.send("ERROR", "before")
        assert client.flush(20)
    if sys.argv[3] == "under way":
        for number in range(500): client.send("ERROR", f"under way {number}")
    own = replace()
    if sys.argv[3] == "closed":
        assert client.close()
        client = Client("127.0.0.1", port)
    elif sys.argv[3] == "dropped":
        client = Client("127.0.0.1", port)
        gc.collect()
    for number in range(20): client.send("ERROR", str(number))
    if sys.argv[3] != "at the end":
        assert client.flush(20), client.stats()
        assert client.close(), client.stats()
    assert time.process_time() < 5, time.process_time()
    check(own)
    """
    )
    run_program(program, server.port, tmp_path, moment)
    messages = stored(server)
    assert [message for message in messages if message.isdigit()] == list(map(str, range(20)))
    assert len([message for message in messages if message.startswith("under way")]) == 500 * (moment == "under way")


def test_a_thread_whose_descriptors_are_closed_while_it_sleeps_does_not_spin(start, tmp_path):
    server = start()
    program = (
        CLOSES
        + """
    client = Client("127.0.0.1", port)
    client.send("ERROR", "before")
    assert client.flush(20)
    own = replace()
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1, time.process_time() - before
    check(own)
    """
    )
    run_program(program, server.port, tmp_path)


def test_the_numbers_of_the_standard_streams_are_left_to_the_program(nobody, tmp_path):
    """A program that becomes a daemon closes them, and expects what it opens next in their place."""
    program = """
    os.closerange(0, 3)
    client = Client("127.0.0.1", port, spill=sys.argv[2] + "/spill")
    until = time.monotonic() + 20
    while not client.stats().spilled and time.monotonic() < until:
        client.send("ERROR", "the first is tried, and others are kept in a file")
        time.sleep(0.01)
    assert client.stats().spilled
    assert [os.open(os.devnull, os.O_RDWR) for _ in range(3)] == [0, 1, 2], "the client has them"
    """
    run_program(program, nobody, tmp_path)


def test_making_a_client_needs_no_descriptor(start):
    server = start()
    program = """
        import resource
        clients = [Client("127.0.0.1", port) for _ in range(2)]
        handler = fastlog.Handler  # imported by now
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 64))
        clients.append(Client("127.0.0.1", port))
        logging.getLogger().addHandler(handler("127.0.0.1", port))
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        for client in clients: client.send("ERROR", "m")
        logging.error("m")
        """
    run_program(program, server.port)
    assert stored(server) == ["m"] * 4


def test_a_thousand_clients_that_nobody_holds_leave_nothing(start):
    server = start()
    program = """
        def threads(): return len(os.listdir("/proc/self/task"))
        def kib(): return int(open("/proc/self/statm").read().split()[1]) * 4
        before, descriptors = threads(), len(os.listdir("/proc/self/fd"))
        gc.disable()  # the clients need no collector
        for number in range(1200):
            if number == 200: size = kib()
            kind = number % 4
            if kind == 0: Client("127.0.0.1", port)
            elif kind == 1: Client("127.0.0.1", port).send("ERROR", "m")
            else:
                handler = fastlog.Handler("127.0.0.1", port)
                handler.emit(logging.LogRecord("a", logging.ERROR, "f", 1, "m", (), None))
                if kind == 2: handler.flush()
                handler.close()
                del handler
            if number % 100 == 99:
                until = time.monotonic() + 20
                while threads() > before and time.monotonic() < until: time.sleep(0.01)
        assert threads() == before, threads()
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert kib() < size + 20_000, (size, kib())
        """
    run_program(program, server.port)
    assert stored(server) == ["m"] * 900


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_greenlets(start, library, host):
    """The client's thread is one of the system, whatever a library has put in the place of the interpreter's threads."""
    patch = {
        "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
        "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
    }[library]
    server = start()
    program = f"""
        logging.getLogger().addHandler(fastlog.Handler({host!r}, port))
        def work(name):
            for number in range(50):
                logging.error("%s %d", name, number)
                time.sleep(0)
        workers = [threading.Thread(target=work, args=(n,)) for n in range(10)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        client = logging.getLogger().handlers[0].client
        assert client.flush(20), client.stats()
        logging.error("last")
        """
    run_program(program, server.port, first=patch)
    assert len(stored(server)) == 501


def test_a_handler_that_is_closed_delivers_in_the_background_and_takes_records_again(start, nobody):
    before = len(threads())
    handler = Handler(port=nobody)
    logger = handler.client
    logger.send("ERROR", "while nobody listens")
    handler.flush()
    handler.close()
    server = start(SERVER_PORT=str(nobody))
    eventually(logger.stats, lambda stats: stats.acknowledged == 1)
    eventually(threads, lambda now: len(now) == before)
    logger.send("ERROR", "after close")
    eventually(logger.stats, lambda stats: stats.acknowledged == 2)
    assert logger.close(PATIENCE_SEC)
    assert stored(server) == ["while nobody listens", "after close"]


def threads() -> list[str]:
    return os.listdir(Path("/proc/self/task"))


def test_a_closed_client_has_no_thread(start):
    server = start()
    before = len(threads())
    client = Client(port=server.port)
    client.send("ERROR", "m")
    assert client.close()
    eventually(threads, lambda now: len(now) == before)
