"""When a change of health is reported, and what becomes of commands that fail."""

import json
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from fastlog.server import alerts
from fastlog.server.alerts import APART_SEC, CALM_SEC, LASTED_SEC, TRIES_MAX, Alerts, Changes, run_command
from fastlog.server.silence import STALLED_SEC
from fastlog.stats import Health

OK = Health("ok")
FULL = Health("degraded", ["the disk refuses entries: No space left on device"])


def slow(seconds: int) -> Health:
    return Health("degraded", [f"the disk does not answer: a sync has been under way for {seconds} s"])


def reported(changes: Changes, healths, start: int = 0) -> list[tuple[int, str]]:
    """Looks once a second at one health after the other; when which status was reported."""
    said = []
    for second, health in enumerate(healths, start):
        if changes.look(second, health):
            changes.note_reported(health.status)
            said.append((second, health.status))
    return said


def test_a_change_is_reported_once_it_has_lasted_and_the_end_of_it_later():
    life = [OK] * 5 + [FULL] * 30 + [OK] * 100
    first = 5 + int(LASTED_SEC) - 1  # the second before the first look at it counts
    assert reported(Changes("ok"), life) == [(first, "degraded"), (35 + int(CALM_SEC), "ok")]


def test_what_is_over_soon_is_not_reported():
    life = ([OK] * 70 + [FULL] * 5) * 20
    assert reported(Changes("ok"), life) == []


def test_health_that_comes_and_goes_is_reported_once():
    life = ([FULL] * 3 + [OK] * 3) * 50 + [OK] * 100
    (began, status), (ended, calm) = reported(Changes("ok"), life)
    assert (status, calm) == ("degraded", "ok")
    assert began < 30
    assert ended >= 300 + CALM_SEC - 3


def test_a_reason_whose_figure_grows_stays_the_same_reason():
    assert len(reported(Changes("ok"), [slow(second) for second in range(300)])) == 1


def test_another_reason_is_another_change():
    both = Health("degraded", [*FULL.reasons, *slow(3).reasons])
    assert [status for _, status in reported(Changes("ok"), [FULL] * 30 + [both] * 30)] == ["degraded"] * 2


def test_a_start_reports_ok_only_after_a_life_that_was_reported_as_degraded():
    assert reported(Changes("ok"), [OK] * 200) == []
    assert reported(Changes("degraded"), [OK] * 200) == [(int(CALM_SEC), "ok")]
    assert [status for _, status in reported(Changes("degraded"), [FULL] * 30)] == ["degraded"]


class Life:
    """Alerts of which nobody but the test says what time it is."""

    def __init__(self, directory: Path, monkeypatch, *answers: str | None) -> None:
        self.ran: list[tuple[float, dict]] = []
        self._answers = list(answers)
        self._alerts = Alerts("notify", directory / "server.log", self._run)
        self.now = 1000.0
        monkeypatch.setattr(alerts.threading.Thread, "start", lambda thread: None)
        monkeypatch.setattr(alerts.time, "monotonic", lambda: self.now)

    def _run(self, command: list[str], alert: bytes) -> str | None:
        assert command == ["notify"]
        self.ran.append((self.now, json.loads(alert)))
        return self._answers.pop(0) if self._answers else None

    def live(self, health: Health | None, seconds: int) -> None:
        """`health` None: the loop gives no sign of life."""
        for _ in range(seconds):
            if health:
                self._alerts.beat(health, None)
            self._alerts.look(self.now)
            self.now += 1

    @property
    def stats(self):
        return self._alerts.stats

    @property
    def warning(self):
        return self._alerts.warning


@pytest.fixture
def live(tmp_path, monkeypatch):
    return lambda *answers: Life(tmp_path, monkeypatch, *answers)


def test_runs_are_a_minute_apart(live):
    life = live()
    for number in range(20):
        life.live(Health("degraded", [f"reason {'abcdefghijklmnopqrst'[number]}"]), 15)
    times = [at for at, _ in life.ran]
    assert len(times) == 5
    assert all(later - earlier >= APART_SEC for earlier, later in pairwise(times))


def test_a_failing_command_is_tried_again_and_not_for_ever(live, capfd):
    life = live(*["exit code 1: no route"] * 100)
    life.live(FULL, 3000)
    assert len(life.ran) == TRIES_MAX
    assert (life.stats.runs, life.stats.failures, life.stats.last_failure) == (
        TRIES_MAX,
        TRIES_MAX,
        "exit code 1: no route",
    )
    assert life.warning == "the alert command failed: exit code 1: no route"
    messages = capfd.readouterr().err.splitlines()
    assert messages[0] == "fastlog: the alert command failed: exit code 1: no route; trying again in 60 s"
    assert messages[-1].endswith("; it is not tried again")
    assert len(messages) == TRIES_MAX


def test_each_change_is_tried_as_often(live):
    life = live(*["exit code 1: no route"] * 100)
    life.live(FULL, int(LASTED_SEC + APART_SEC * (TRIES_MAX - 2)) + 1)
    assert len(life.ran) == TRIES_MAX - 1
    life.live(OK, int(CALM_SEC) + 5)
    life.live(FULL, 3000)
    assert len(life.ran) == TRIES_MAX - 1 + TRIES_MAX


def test_a_run_that_goes_well_clears_the_failure(live):
    life = live("exit code 1")
    life.live(FULL, 100)
    assert (life.stats.runs, life.stats.failures, life.stats.last_failure, life.warning) == (2, 1, None, None)
    assert life.stats.last_status == "degraded"


def test_a_loop_that_hangs_is_reported(live):
    life = live()
    life.live(OK, 100)
    life.live(None, int(STALLED_SEC + LASTED_SEC) + 5)
    [(_, alert)] = life.ran
    assert alert["status"] == "degraded"
    assert "the server's loop has not answered" in alert["reasons"][0]


def test_the_next_start_knows_what_was_reported(live):
    before = live()
    before.live(FULL, 20)
    after = live()
    after.live(OK, 200)
    [(_, alert)] = after.ran
    assert (alert["status"], alert["previous"]) == ("ok", "degraded")
    last = live()
    last.live(OK, 200)
    assert last.ran == []


def test_a_path_or_reason_with_any_bytes_makes_json_and_one_line(live):
    life = live()
    life.live(Health("degraded", ["a \udcff\n\x1b[31m reason"]), 20)
    assert "\n" not in life.ran[0][1]["summary"]
    assert "\x1b" not in life.ran[0][1]["summary"]


def run(command: str, alert: bytes = b"{}") -> str | None:
    return run_command(shlex.split(command), alert)


def test_the_command_gets_the_alert_and_the_environment_of_the_server_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("PYTHONINSPECT", "1")
    assert (
        run(
            f"sh -c 'cat > {tmp_path}/got; env > {tmp_path}/env; ls /proc/self/fd | wc -l > {tmp_path}/fds'", b'{"a":1}'
        )
        is None
    )
    assert (tmp_path / "got").read_text() == '{"a":1}'
    environment = (tmp_path / "env").read_text()
    assert "PYTHONINSPECT=1" in environment
    assert "LISTEN_FDS" not in environment
    assert (tmp_path / "fds").read_text().strip() == "4"  # 0 to 2, and the directory that is listed


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        ("true", None),
        ("sh -c 'echo all is well'", None),
        ("sh -c 'echo first; echo no such host >&2; exit 7'", "exit code 7: no such host"),
        ("sh -c 'printf \"\\033[31mred\\n\"; exit 1'", "exit code 1: [31mred"),
        ("sh -c 'kill -TERM $$'", "ended by SIGTERM"),
        ("no-such-program", "cannot start no-such-program: No such file or directory"),
        ("yes", "printed more than 65536 bytes"),
        ("sh -c 'exec >&- 2>&-; exit 3'", "exit code 3"),
    ],
)
def test_how_a_command_ends_is_said_in_one_line(command, failure):
    assert run(command, b"{}" * 100_000) == failure


@pytest.mark.parametrize("ending", ["exit 0", "exec sleep 600"])
def test_whatever_a_command_has_started_is_gone_with_it(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(alerts, "RUN_SEC", 0.3)
    here = tmp_path / "program"
    here.symlink_to(shutil.which("sleep"))
    started = f"for i in 1 2 3 4 5; do setsid sh -c '{here} 601 & {here} 602' & {here} 603 & done"
    failure = run(f"sh -c {shlex.quote(f'{started}; {ending}')}")
    assert failure == (None if ending == "exit 0" else "did not end within 0.3 s")
    assert [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(here) in _words(path)] == []


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split("\0")
    except OSError:
        return []


def test_the_processes_of_a_command_are_limited(tmp_path):
    assert run(f"sh -c 'grep processes /proc/self/limits > {tmp_path}/limit'") is None
    assert int((tmp_path / "limit").read_text().split()[2]) < 100_000
