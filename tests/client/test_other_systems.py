"""The client where fastlog has no compiled modules, and on systems that look like macOS and Windows from Python."""

import subprocess

import pytest

from tests.helpers.python_programs import run_program, stored
from tests.helpers.running import run_python

SYSTEMS = {
    "linux": "without_compiled_modules",
    "macos": "become_macos",
    "windows": "become_windows",
}


def become(system: str) -> str:
    return f"from tests.helpers.other_systems import {SYSTEMS[system]}; {SYSTEMS[system]}()"


def run_command(system: str, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs `fastlog` there."""
    program = f"{become(system)}\nimport sys\nfrom fastlog.cli import main\nsys.exit(main({list(words)!r}))"
    return run_python(program, check=check)


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_logged_arrives_and_is_acknowledged(start, system):
    server = start()
    program = """
        handler = fastlog.Handler(port=port, app="shop")
        logging.getLogger("shop").addHandler(handler)
        for number in range(100):
            logging.getLogger("shop").error("order %d", number)
            logging.getLogger("shop").warning("slow", extra={"ms": 7.5, "tags": {"a"}})
        handler.flush()
        stats = handler.client.stats()
        assert (stats.implementation, stats.acknowledged, stats.sent) == ("python", 100, 200), stats
        assert stats.problem == "" and stats.dropped == {}, stats
        threads = [threading.Thread(target=handler.client.info, args=("from a thread",)) for _ in range(5)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert handler.client.close()
        handler.client.error("after the end")
        assert handler.client.stats().dropped == {"ERROR": 1}
        with Client("localhost", port) as named:
            named.error("by name")
        """
    run_program(program, server.port, first=become(system))
    found = stored(server)
    assert sorted(found) == sorted(
        [*(f"order {n}" for n in range(100)), *["slow"] * 100, *["from a thread"] * 5, "by name"]
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_program_that_just_ends_delivers(start, system):
    server = start()
    run_program('Client("127.0.0.1", port).error("last words")', server.port, first=become(system))
    assert stored(server) == ["last words"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_server_that_comes_back_gets_what_waited(start, system):
    server = start()
    server.stop()
    program = """
        client = Client("127.0.0.1", port)
        client.error("kept")
        while not client.stats().refused: time.sleep(0.01)
        print("refused", client.stats().problem)
        assert not client.flush(0.2)
        """
    done = run_program(program, server.port, first=become(system))
    assert f"nothing listens on 127.0.0.1 port {server.port}/udp (refused)" in done.stdout


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_a_child_of_a_fork_logs_for_itself(start, system):
    server = start()
    program = """
        client = Client("127.0.0.1", port)
        client.error("parent")
        if not os.fork():
            client.error("child")
            client.close()
            os._exit(0)
        os.wait()
        assert client.close()
        """
    run_program(program, server.port, first=become(system))
    assert sorted(stored(server)) == ["child", "parent"]


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_a_program_that_closes_all_descriptors_sends_nothing_into_its_own_sockets(start, system):
    """On macOS, sockets have no number of their own: they are told apart by their addresses."""
    server = start()
    program = """
        client = Client("127.0.0.1", port)
        client.error("before")
        assert client.flush()
        os.closerange(3, 100)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0)
        own = [socket.create_connection(listener.getsockname()) for _ in range(20)]
        theirs = [listener.accept()[0] for _ in own]
        for number in range(50):
            client.error(str(number))
        assert client.flush(), client.stats()
        for one in theirs:
            one.setblocking(False)
            try:
                raise AssertionError(one.recv(999))
            except BlockingIOError:
                pass
        """
    run_program(program, server.port, first=become(system))
    assert sorted(stored(server)) == sorted(["before", *map(str, range(50))])


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_spill_files_keep_what_no_server_took(start, tmp_path, system):
    server = start()
    first = 'client = Client("127.0.0.1", 1, spill=sys.argv[2]); client.error("kept"); client.close(0.1)'
    then = 'client = Client("127.0.0.1", port, spill=sys.argv[2]); assert client.flush(20), client.stats()'
    run_program(first, server.port, tmp_path / "spill", first=become(system))
    run_program(then, server.port, tmp_path / "spill", first=become(system))
    assert stored(server) == ["kept"]


def test_windows_has_no_spill_files_and_says_so(start, tmp_path):
    server = start()
    program = """
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client = Client("127.0.0.1", port, spill=sys.argv[2])
        assert "no spill files on Windows" in str(caught[0].message)
        client.error("all the same")
        assert client.close()
        """
    run_program(program, server.port, tmp_path / "spill", first=become("windows"))
    assert stored(server) == ["all the same"]
    assert not list(tmp_path.glob("spill*"))


@pytest.mark.parametrize("system", ["macos", "windows"])
def test_a_unix_socket_is_said_to_be_of_linux(system):
    program = """
        client = Client("unix:/run/fastlog/log.sock")
        client.error("nowhere")
        while not client.stats().problem: time.sleep(0.01)
        assert "on Linux only" in client.stats().problem, client.stats()
        client.close(0)
        """
    run_program(program, 1, first=become(system))


@pytest.mark.parametrize(
    ("system", "command"),
    [("macos", "serve"), ("macos", "tail"), *[("windows", c) for c in ("serve", "tail", "top", "send")]],
)
def test_other_commands_say_in_one_line_that_they_need_linux(system, command):
    done = run_command(system, command)
    assert done.returncode == 1
    name = {"macos": "darwin", "windows": "win32"}[system]
    assert done.stderr == (
        f"fastlog: this command needs Linux, and this is {name}; programs can log from here with fastlog.Client\n"
    )
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["serve", "tail", "loadtest"])
def test_without_compiled_modules_commands_say_in_one_line_what_to_install(command):
    done = run_command("linux", command)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    for words in ("apt install gcc", "dnf install gcc", "apk add gcc", "pip install"):
        assert words in done.stderr


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_a_message_can_be_sent_by_command(start, system):
    server = start()
    words = ("send", "--server", "127.0.0.1", "--port", str(server.port), "--level", "ERROR", "by hand")
    run_command(system, *words, check=True)
    assert stored(server) == ["by hand"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_help_is_there_everywhere(system):
    assert "serve" in run_command(system, "--help", check=True).stdout


@pytest.mark.parametrize("system", SYSTEMS)
def test_tests_of_programs_run_there(system):
    program = """
        from fastlog.testing import Collector, capture_entries
        with Collector() as collector, Client("127.0.0.1", collector.port) as client:
            client.error("caught", order=7)
            assert client.flush()
            collector.assert_logged("ERROR", order=7)
        with capture_entries() as logged:
            Client("127.0.0.1", port).info("not sent")
        logged.assert_logged("INFO", message="not sent")
        """
    run_program(program, 1, first=become(system))
