"""The end of a program, of a handler and of a client: whatever is logged until the interpreter is gone is delivered,
goes to the spill file, or is reported; and nothing waits longer than it must."""

import signal
import socket
import subprocess
import sys
import time
from textwrap import dedent

import pytest

from tests.helpers.python_programs import IMPORTS, run_file, run_program, stored
from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC, eventually

LOG = """
log = logging.getLogger("app"); log.setLevel(1)
def attach(**options):
    log.addHandler(fastlog.Handler("127.0.0.1", port, **options))
    return log.handlers[-1]
"""


@pytest.fixture
def silent():
    """The port of a socket that takes everything and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taking:
        taking.bind(("127.0.0.1", 0))
        yield taking.getsockname()[1]


# The end of the program

EARLY = """
import atexit
atexit.register(lambda: log.error("registered before fastlog and logging"))
"""
LAST_WORDS = {
    "atexit": """
        attach()
        atexit.register(lambda: log.error("last"))
        """,
    "logging comes last": """
        client = Client("127.0.0.1", port)
        attach()
        atexit.register(lambda: client.send("ERROR", "last"))
        """,
    "the first entry of all": 'atexit.register(lambda: attach() and log.error("last"))',
    "an object": """
        attach()
        class Resource:
            def __del__(self, log=log): log.error("last")
        kept = Resource()
        """,
    "an object in a cycle": """
        attach()
        class Resource:
            def __del__(self, log=log): log.error("last")
        kept = Resource()
        kept.itself = kept
        del kept
        """,
    "an object with a client": """
        class Resource:
            def __init__(self): self.client = Client("127.0.0.1", port)
            def __del__(self): self.client.send("ERROR", "last")
        kept = Resource()
        attach()
        """,
    "an object that flushes and closes": """
        attach()
        class Resource:
            def __init__(self): self.client = Client("127.0.0.1", port)
            def __del__(self):
                self.client.send("ERROR", "last")
                self.client.flush()
                self.client.close()
        kept = Resource()
        """,
    "a module": """
        attach()
        import types
        module = sys.modules["kept"] = types.ModuleType("kept")
        class Resource:
            def __del__(self, log=log): log.error("last")
        module.resource = Resource()
        del module
        """,
    "a finalizer": """
        attach()
        class Resource: pass
        kept = Resource()
        weakref.finalize(kept, log.error, "last")
        """,
    "a thread": """
        attach()
        def work():
            threading.main_thread().join()
            log.error("last")
        threading.Thread(target=work).start()
        """,
    "an executor": """
        attach()
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        pool.submit(time.sleep, 0.1)
        pool.submit(log.error, "last")
        """,
    "logging.shutdown": """
        attach()
        logging.shutdown()
        log.error("last")
        """,
    "sys.exit": """
        attach()
        log.error("last")
        sys.exit(0)
        """,
    "excepthook": """
        attach()
        def hook(*error):
            log.error("last")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        atexit.register(hook)
        """,
    "a clean-up of a clean-up": """
        attach()
        atexit.register(lambda: weakref.finalize(log, log.error, "last"))
        """,
}


@pytest.mark.parametrize("what", LAST_WORDS)
def test_last_words(start, what):
    server = start()
    run_program(LOG + dedent(LAST_WORDS[what]), server.port, first=EARLY)
    assert sorted(stored(server)) == ["last", "registered before fastlog and logging"]


CHILDREN = (
    """
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
"""
    + LOG
    + """
def work(name, count):
    for number in range(count):
        log.error("%s %d", name, number)
        time.sleep(0.002)
def grandchild():
    if not log.handlers: attach()
    work("grandchild", 20)
def child(kind):
    attach()
    log.error("begins")
    if kind == "thread": threading.Thread(target=work, args=("t", 20)).start()
    if kind == "executor":
        pool = ThreadPoolExecutor(1)
        pool.submit(time.sleep, 0.3)
        for number in range(20): pool.submit(work, f"job {number}", 1)
    if kind == "chain":
        def start(left):
            log.error("chain %d", left)
            if left > 1: threading.Thread(target=start, args=(left - 1,)).start()
        threading.Thread(target=start, args=(20,)).start()
    if kind == "nested":
        child = multiprocessing.Process(target=grandchild)
        child.start()
        child.join()
    if kind == "error":
        work("e", 20)
        sys.stderr = None
        raise SystemExit(3)
"""
)


@pytest.mark.parametrize("kind", ["thread", "executor", "chain", "nested", "error"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_delivers_what_its_threads_log_after_its_function(start, tmp_path, method, kind):
    server = start()
    program = (
        CHILDREN
        + """
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    process = multiprocessing.Process(target=child, args=(sys.argv[3],))
    process.start()
    process.join()
    assert process.exitcode == (3 if sys.argv[3] == "error" else 0), process.exitcode
"""
    )
    run_file(tmp_path / "program.py", program, server.port, method, kind)
    assert len(stored(server)) == 21


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_billiard(start, tmp_path, method):
    """Celery's multiprocessing, which calls no `atexit` functions either."""
    pytest.importorskip("billiard")
    server = start()
    program = (
        CHILDREN
        + """
import billiard
def job(number):
    if not log.handlers: attach()
    work(f"job {number}", 20)
if __name__ == "__main__":
    attach()
    log.error("parent")
    context = billiard.get_context(sys.argv[2])
    children = [context.Process(target=job, args=(number,)) for number in range(3)]
    for child in children: child.start()
    for child in children: child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
"""
    )
    run_file(tmp_path / "program.py", program, server.port, method)
    assert len(stored(server)) == 61


def test_daemon_threads_that_log_while_the_program_ends_disturb_nobody(start):
    server = start()
    program = (
        LOG
        + """
attach()
def work():
    while True:
        log.info("busy")
        time.sleep(0.0005)
for _ in range(3): threading.Thread(target=work, daemon=True).start()
log.error("first")
"""
    )
    for _ in range(3):
        run_program(program, server.port, first=EARLY)
    messages = [message for message in stored(server) if message != "busy"]
    assert sorted(messages) == ["first"] * 3 + ["registered before fastlog and logging"] * 3


# What is not delivered


def end(nobody: int, program: str, *arguments: object, **options) -> tuple[float, str]:
    """How long a program takes to end after its last line, and what it prints on standard error."""
    began = time.monotonic()
    done = run_program(LOG + program + "\nprint(time.monotonic(), flush=True)", nobody, *arguments, **options)
    return time.monotonic() - float(done.stdout.split()[-1]) if done.stdout else time.monotonic() - began, done.stderr


def test_where_nothing_listens_the_end_comes_early_and_is_reported_once(nobody):
    took, said = end(nobody, "attach(); attach()\nlog.error('lost')")
    assert took < 1
    assert (
        said == f"fastlog: 2 log entries were not delivered: nothing listens on 127.0.0.1 port {nobody}/udp (refused)\n"
    )


def test_close_returns_early_where_nothing_listens(nobody):
    program = """
        client = Client("127.0.0.1", port)
        client.send("ERROR", "lost")
        began = time.monotonic()
        assert not client.close()
        assert time.monotonic() - began < 1
        assert client.stats().problem == f"nothing listens on 127.0.0.1 port {port}/udp (refused)", client.stats()
        assert client.stats().given_up + sum(client.stats().dropped.values()) == 1
        """
    assert run_program(program, nobody).stderr == ""


def test_flush_waits_for_a_server_that_starts_later(start, nobody):
    program = """
        import subprocess
        client = Client("127.0.0.1", port)
        client.send("ERROR", "early")
        assert not client.flush(0.5)
        print("flushed", flush=True)
        assert client.flush(20)
        """
    running = subprocess.Popen(
        [sys.executable, "-c", IMPORTS + "\n".join(line.strip() for line in program.splitlines()), str(nobody)],
        env=BASE_ENVIRONMENT, stdout=subprocess.PIPE,
    )  # fmt: skip
    with running:
        assert running.stdout.readline() == b"flushed\n"
        server = start(SERVER_PORT=str(nobody))
        assert running.wait(PATIENCE_SEC) == 0
    assert stored(server) == ["early"]


def test_a_server_that_was_there_before_is_waited_for(start, nobody):
    """It may have been restarted: the end of the program waits its two seconds for it."""
    server = start(SERVER_PORT=str(nobody))
    program = (
        LOG
        + """
attach()
log.error("before")
assert log.handlers[0].client.flush(20)
print("delivered", flush=True)
sys.stdin.readline()
log.error("meanwhile")
"""
    )
    running = subprocess.Popen(
        [sys.executable, "-c", IMPORTS + program, str(nobody)],
        env=BASE_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with running:
        assert running.stdout.readline() == b"delivered\n"
        server.stop()
        running.stdin.write(b"\n")
        running.stdin.flush()
        began = time.monotonic()
        said = running.stderr.read()
        assert time.monotonic() - began > 1.5
    assert (
        said
        == f"fastlog: 1 log entry was not delivered: nothing listens on 127.0.0.1 port {nobody}/udp (refused)\n".encode()
    )


@pytest.mark.parametrize(("interrupted", "spill"), [("early", True), ("early", False), ("late", True)])
def test_an_end_that_is_interrupted_loses_nothing_without_a_word(silent, tmp_path, interrupted, spill):
    """The first Ctrl-C ends a program, and the second one its end: while that waits, or while a later call does."""
    late = """
import atexit
def late():
    interrupt_soon()
    client.send("ERROR", "late")
atexit.register(late)
"""
    program = """
    client = Client("127.0.0.1", port, spill=sys.argv[2] or None)
    def interrupt_soon():
        signal.setitimer(signal.ITIMER_REAL, 0.2)  # the end waits longer
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    client.send("ERROR", "early")
    if sys.argv[3] == "early": interrupt_soon()
    """
    path = tmp_path / "spill" if spill else ""
    done = run_program(program, silent, path, interrupted, first=late if interrupted == "late" else "")
    assert "KeyboardInterrupt" in done.stderr
    if spill:
        assert interrupted in "".join(path.read_text() for path in tmp_path.glob("spill.*"))
    else:
        assert "fastlog: 1 log entry was not delivered" in done.stderr


def test_a_server_that_does_not_answer_is_reported(silent):
    took, said = end(silent, "attach()\nlog.error('lost')")
    assert 1.5 < took < 5
    assert said == f"fastlog: 1 log entry was not delivered: 127.0.0.1 port {silent}/udp does not answer\n"


def test_standard_error_that_nobody_reads_holds_up_nothing(nobody):
    program = (
        LOG
        + """
reading, writing = os.pipe()
os.set_blocking(writing, False)
try:
    while True: os.write(writing, b"x" * 4096)
except BlockingIOError: pass
os.set_blocking(writing, True)
os.dup2(writing, 2)
attach()
log.error("lost")
"""
    )
    run_program(program, nobody)


@pytest.mark.parametrize("closes", ["sys.stderr.close()", "os.close(2)", "sys.stderr = None; sys.__stderr__ = None"])
def test_a_program_without_standard_error(nobody, closes):
    run_program(LOG + f"attach()\n{closes}\nlog.error('lost')", nobody)


def test_what_is_logged_after_the_end_goes_to_the_spill_file(start, nobody, tmp_path):
    program = (
        LOG
        + """
class Resource:
    def __del__(self, log=log): log.error("last")
kept = Resource()
attach(spill=sys.argv[2])
log.error("first")
"""
    )
    took, said = end(nobody, program, tmp_path / "spill", first=EARLY)
    assert (said, took < 1) == ("", True)
    server = start(SERVER_PORT=str(nobody))
    run_program("assert Client('127.0.0.1', port, spill=sys.argv[2]).flush(20) is not None", nobody, tmp_path / "spill")
    assert sorted(stored(server)) == ["first", "last", "registered before fastlog and logging"]


# Handlers


@pytest.mark.parametrize("server", ["silent", "nobody"])
def test_logging_is_configured_again_while_the_server_is_away(server, request):
    """logging flushes and closes the handlers under its lock, one after the other."""
    program = """
        import logging.config
        handlers = {name: {"class": "fastlog.Handler", "port": port} for name in "abc"}
        config = {
            "version": 1, "disable_existing_loggers": False, "handlers": handlers,
            "root": {"handlers": list(handlers), "level": "INFO"},
        }
        logging.config.dictConfig(config)
        for _ in range(2):
            logging.error("lost")
            began = time.monotonic()
            logging.config.dictConfig(config)
            assert time.monotonic() - began < 1.5, time.monotonic() - began
        """
    run_program(program, request.getfixturevalue(server))


def test_a_flush_of_a_handler_waits_while_acks_come(start):
    server = start()
    program = (
        LOG
        + """
handler = attach(queue_entries=100_000, pack=False)
for number in range(20_000): log.error("%d", number)
handler.flush()
assert handler.client.stats().acknowledged == 20_000, handler.client.stats()
handler.close()
"""
    )
    run_program(program, server.port)
    assert len(stored(server)) == 20_000


def test_a_handler_that_is_replaced_delivers_what_it_has(start, nobody):
    program = (
        LOG
        + """
handler = attach()
for number in range(100): log.error("%d", number)
handler.flush()
log.removeHandler(handler)
handler.close()
del handler
print("closed", flush=True)
sys.stdin.readline()
"""
    )
    running = subprocess.Popen(
        [sys.executable, "-c", IMPORTS + program, str(nobody)],
        env=BASE_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with running:
        assert running.stdout.readline() == b"closed\n"
        server = start(SERVER_PORT=str(nobody))
        eventually(server.stats, lambda stats: stats["stored"] == 100)
        running.send_signal(signal.SIGKILL)
    assert len(stored(server)) == 100


# Copies


def test_a_copy_is_the_client_itself_and_a_pickle_makes_another_one(start):
    server = start()
    program = """
        original = Client("127.0.0.1", port, app="shop", window=10, priority_levels=["ERROR"])
        shallow, deep = copy.copy(original), copy.deepcopy({"client": original})["client"]
        other = pickle.loads(pickle.dumps(original))
        assert other is not original and other._options == original._options
        del original
        gc.collect()
        for client in (shallow, deep, other):
            client.send("ERROR", "m")
            assert client.flush(20)
            assert not client.stats().dropped
        """
    run_program(program, server.port)
    assert stored(server) == ["m"] * 3
