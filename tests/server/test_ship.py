"""`fastlog ship` as a user runs it, beside a real server: signals, exit codes, and files that come and go fast."""

import os
import signal
import subprocess
from time import monotonic

import pytest

from fastlog.segments import read_shipped, shipped_path
from tests.helpers.nats import NODE, STREAM, NatsServer, free_port, needs_nats, publish
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, run_fastlog, until
from tests.helpers.shipping import make_segment

pytestmark = needs_nats

AT_ONCE_SEC = 5.0  # an upper bound, for a machine under load: what has to wait for an engine takes longer


@pytest.fixture(scope="module")
def nats(tmp_path_factory):
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.close()


@pytest.fixture
def stream(nats):
    nats.make_stream()
    yield nats
    nats.ask(f"STREAM.DELETE.{STREAM}")


class Ship:
    """`fastlog ship` in a directory, with its messages in a file."""

    def __init__(self, directory, url, *flags, **how) -> None:
        self.live = directory / "server.log"
        self._output = directory / "ship.out"
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [*FASTLOG, "ship", "--to", f"{url}/{STREAM}", "--node", NODE, "--log-dir", str(directory), *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=BASE_ENVIRONMENT,
                **how,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.output or self.process.poll() is not None, text)
        assert text in self.output

    def wait_for_note(self) -> None:
        until(shipped_path(self.live).exists, "the note")

    def wait_for_end_of_log(self) -> None:
        until(lambda: self.note() and self.note().offset == self.live.stat().st_size > 0, "the end of the log")

    def note(self):
        return read_shipped(self.live)

    def end(self, number=signal.SIGTERM) -> int:
        """Returns the exit code."""
        began = monotonic()
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SEC)
        assert monotonic() - began < AT_ONCE_SEC
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def ship(tmp_path, closing):
    return lambda url, *flags, **how: closing(Ship(tmp_path, url, *flags, **how))


def entries(first, last):
    return [b'{"level":"INFO","message":"entry %06d"}' % number for number in range(first, last)]


def as_lines(datagrams):
    return b"".join(entry + b"\n" for entry in datagrams)


def test_every_entry_is_shipped_across_many_rotations(start, stream, ship):
    """The server rotates as fast as it can, deletes what is shipped, and ends; then the rest is shipped."""
    server = start(MAX_LOG_SIZE_MB="0.01", LOG_BACKUPS="1")
    shipper = ship(stream.url)
    shipper.wait_for_note()
    sent = entries(0, 20_000)
    server.send(sent)
    server.stop()
    assert shipper.end() == 0
    assert run_ship(shipper.live, stream.url, "--once").returncode == 0
    assert stream.data() == as_lines(sent)
    assert shipper.note().segment > 80


def run_ship(live, url, *flags):
    return run_fastlog(
        "ship", "--to", f"{url}/{STREAM}", "--node", NODE, "--log-dir", str(live.parent), *flags, cwd=live.parent
    )


def test_limits_that_delete_all_of_a_node_while_it_is_off_do_no_harm(start, tmp_path, stream, ship):
    """A machine may be off for longer than the stream keeps messages."""
    stream.edit_stream(max_msgs=2)
    server = start()
    sent = entries(0, 100)
    server.send(sent)
    server.stop()
    shipper = ship(stream.url)
    shipper.wait_for_end_of_log()
    assert shipper.end() == 0
    for _ in range(2):
        publish(stream.url, "fastlog.other", b"{}\n")
    more = entries(100, 150)
    shipper.live.write_bytes(as_lines(sent + more))
    done = run_ship(shipper.live, stream.url, "--once")
    assert (done.returncode, "the limits of the engine have deleted all lines of this node" in done.stderr) == (0, True)
    assert stream.data() == as_lines(more)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it_with_its_note(tmp_path, stream, ship, number):
    make_segment(tmp_path / "server.log", 1, as_lines(entries(0, 100)))
    shipper = ship(stream.url)
    shipper.wait_for_end_of_log()
    assert shipper.end(number) == 0
    assert "shipped 100 lines" in shipper.output


def test_a_signal_ends_it_while_the_engine_is_away(tmp_path, ship):
    make_segment(tmp_path / "server.log", 1, as_lines(entries(0, 100)))
    shipper = ship(f"nats://127.0.0.1:{free_port()}")
    until(lambda: shipper.note() and shipper.note().problem, "a problem in the note")
    assert shipper.end() == 0
    assert shipper.note().offset == 0
    assert "shipped 0 lines" in shipper.output


def test_a_signal_ends_it_while_there_is_no_log(tmp_path, stream, ship):
    shipper = ship(stream.url)
    shipper.wait_for("waiting for")
    assert shipper.end() == 0
    assert not shipper.note()


def test_other_signals_and_an_end_of_input_are_harmless(tmp_path, stream, ship):
    live = make_segment(tmp_path / "server.log", 1, as_lines(entries(0, 10)))
    shipper = ship(stream.url)
    shipper.wait_for_end_of_log()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE):
        shipper.process.send_signal(number)
    with live.open("ab") as file:
        file.write(as_lines(entries(10, 20)))
    shipper.wait_for_end_of_log()
    assert shipper.end() == 0
    assert stream.data() == as_lines(entries(0, 20))


def test_it_waits_for_the_log_and_for_the_engine(start, tmp_path, closing, ship):
    nats = closing(NatsServer(tmp_path / "nats"))
    nats.stop()
    shipper = ship(nats.url, "--create")
    shipper.wait_for("waiting for")
    start().send(entries(0, 10))
    until(lambda: shipper.note() and shipper.note().problem, "a problem in the note")
    nats.start()
    shipper.wait_for_end_of_log()
    assert nats.data() == as_lines(entries(0, 10))
    assert not shipper.note().problem
    assert shipper.end() == 0


def test_a_second_one_ends_at_once(tmp_path, stream, ship):
    live = make_segment(tmp_path / "server.log", 1, as_lines(entries(0, 10)))
    shipper = ship(stream.url)
    shipper.wait_for_end_of_log()
    second = run_ship(live, stream.url)
    assert second.returncode == 3
    assert "another `fastlog ship`" in second.stderr
    shipper.process.kill()
    shipper.process.wait()
    assert run_ship(live, stream.url, "--once").returncode == 0


def test_once_without_a_log_says_so(tmp_path, stream):
    for live in (tmp_path / "server.log", tmp_path / "missing" / "server.log"):
        done = run_fastlog(
            "ship", "--to", f"{stream.url}/{STREAM}", "--once", "--log-dir", str(live.parent), cwd=tmp_path
        )
        assert done.returncode == 0
        assert f"there is no {live}: nothing to ship" in done.stderr


def test_a_file_system_without_attributes_is_refused(tmp_path, stream):
    done = run_fastlog(
        "ship", "--to", f"{stream.url}/{STREAM}", "--log-dir", "/proc", "--log-filename", "version", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "keeps no extended attributes" in done.stderr


def test_it_runs_with_closed_descriptors(tmp_path, stream):
    live = make_segment(tmp_path / "server.log", 1, as_lines(entries(0, 10)))
    command = [*FASTLOG, "ship", "--once", "--to", f"{stream.url}/{STREAM}", "--node", NODE, "--log-dir", str(tmp_path)]
    script = 'exec "$@" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", script, "sh", *command], env=BASE_ENVIRONMENT, check=True, timeout=PATIENCE_SEC)
    assert stream.data() == live.read_bytes()
    assert os.path.getsize(live) == len(as_lines(entries(0, 10)))


def test_check_says_where_both_are_and_changes_nothing(tmp_path, stream):
    live = make_segment(tmp_path / "server.log", 1, as_lines(entries(0, 10)))
    before = run_ship(live, stream.url, "--check")
    assert before.returncode == 0, before.stderr
    assert not shipped_path(live).exists()
    assert f"lag:                     {live.stat().st_size} bytes" in before.stdout
    assert run_ship(live, stream.url, "--once").returncode == 0
    end = f"0123456789ab:1:{live.stat().st_size}"
    after = run_ship(live, stream.url, "--check").stdout
    assert f"shipped up to:           {end}\n" in after
    assert f"continues at:            {end}\n" in after
    assert "lag:                     0 bytes" in after


def test_check_has_an_exit_code(tmp_path, nats, stream):
    live = make_segment(tmp_path / "server.log", 1, as_lines(entries(0, 10)))
    assert run_ship(live, f"nats://127.0.0.1:{free_port()}", "--check").returncode == 1
    assert run_ship(live, stream.url, "--once").returncode == 0
    shipped_path(live).unlink()
    live.unlink()
    make_segment(live, 1, as_lines(entries(0, 10)), log="ffffffffffff")
    rival = run_ship(live, stream.url, "--check")
    assert rival.returncode == 3
    assert "lines of another log" in rival.stderr
    assert run_ship(live, stream.url, "--once").returncode == 3
    assert "lines of another log" in read_shipped(live).problem
