"""`fastlog loadtest` against the real server: its report must agree with the file, whatever became of the entries."""

import json
import os
import pty
import random
import re
import signal
import socket
import subprocess
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from fastlog.errors import ConfigError
from fastlog.loadtest.entries import made_up, picked, read_corpus
from fastlog.loadtest.messages import TEMPLATES, made_up_fields, made_up_message
from fastlog.loadtest.report import CPU_PER_ENTRY_FROM_RATE, Outcome, Report, Sending, as_text, reconcile, restarted
from fastlog.loadtest.run import Measurement, Plan, Target
from fastlog.loadtest.search import CONFIRMATIONS_MAX, STEPS_MAX, Search, SearchError
from fastlog.stats import Latency
from fastlog.stats_client import Figures, StatsClient
from tests.helpers.lossy_relay import LossyRelay
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, TOKEN, eventually, run_fastlog

UNKNOWN = "192.0.2.1:1"  # an address that the server does not list
ENTRY = b'{"sequence":1000000000000000,"level":"INFO","message":"m"}'


def loadtest(server, *arguments: str, **environment: str) -> tuple[int, dict]:
    """The exit code and the report."""
    done = run_fastlog(*command(server, *arguments), "--json", cwd=server.directory, **environment)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def command(server, *arguments: str) -> list[str]:
    return [
        "loadtest", "--port", str(server.port), "--dashboard", f"http://127.0.0.1:{server.dashboard_port}", *arguments
    ]  # fmt: skip


def adds_up(report: dict) -> bool:
    sending, outcome = report["sending"], report["outcome"]
    kinds = ("stored", "duplicates", "buffered", "lost_to_disk", "kernel_drops", "lost_in_network")
    became = sum(outcome[kind] for kind in kinds) + sum(outcome["rejected"].values())
    return sending["entries"] + sending["retransmissions"] == became


def test_the_report_agrees_with_the_file(start):
    server = start()
    code, report = loadtest(server, "--logs", "5003", "--rate", "0", "--error-share", "0.02")
    entries = server.entries()
    assert report["sending"]["entries"] == 5003
    assert report["outcome"]["stored"] == len(entries)
    assert adds_up(report)
    assert report["accounted_for"]
    assert report["outcome"]["other_senders"] == 0
    assert code == (0 if report["lost"] == 0 else 1)
    assert (
        report["lost"]
        == 5003 - len(entries)
        == report["outcome"]["kernel_drops"] - report["sending"]["retransmissions"]
    )
    assert report["sending"]["priority_entries"] == report["sending"]["acknowledged"] == 100
    assert Counter(entry["level"] for entry in entries)["ERROR"] == 100
    latency = report["sending"]["ack_latency_ms"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"] < PATIENCE_SEC * 1000
    assert report["outcome"]["cpu_seconds"] > 0
    assert report["notes"] == []


def test_each_client_counts_its_own_sequences(start):
    server = start()
    code, report = loadtest(server, "--logs", "403", "--rate", "10000", "--clients", "4")
    assert code == 0
    sequences = sorted(entry["sequence"] for entry in server.entries())
    starts = [s for s, before in zip(sequences, [0, *sequences], strict=False) if s != before + 1]
    assert len(starts) == 4
    assert report["outcome"]["sequence_gaps"] == 0
    assert all(10**15 <= sequence < 2**53 for sequence in sequences)


def test_a_client_repeats_no_other_and_no_earlier_one(start, tmp_path):
    (tmp_path / "corpus").write_text("error: always the same\n")
    server = start()
    for _ in range(2):
        code, report = loadtest(server, "--logs", "100", "--rate", "0", "--corpus", "corpus")
        assert code == 0
        assert (report["outcome"]["stored"], report["outcome"]["duplicates"]) == (100, 0)


class Between(StatsClient):
    """Does something after the figures before the run were taken, and something before those after it."""

    def __init__(self, server, after_first=lambda: None, before_next=lambda: None) -> None:
        super().__init__(f"http://127.0.0.1:{server.dashboard_port}", "")
        self._after_first, self._before_next = after_first, before_next
        self._asked = 0

    def fresh_figures(self) -> Figures:
        self._asked += 1
        if self._asked == 2:
            self._before_next()
        figures = super().fresh_figures()
        if self._asked == 1:
            self._after_first()
        return figures


def measured(server, stats_client: StatsClient, logs: int, errors: int = 0) -> Report:
    plan = Plan(logs, 0, 2)
    rng = random.Random(3)
    dealt = [made_up(rng, count, errors, None) for count in plan.counts]
    target = Target("127.0.0.1", server.port, 1 << 20, PATIENCE_SEC)
    return Measurement(target, plan, dealt, ("ERROR",), stats_client).run()


def test_ctrl_c_while_the_clients_begin_ends_them(start, monkeypatch):
    class SecondFails(threading.Thread):
        def start(self) -> None:
            if self.name == "client 1":
                raise KeyboardInterrupt
            super().start()

    server = start()
    monkeypatch.setattr(threading, "Thread", SecondFails)
    with pytest.raises(KeyboardInterrupt):
        measured(server, Between(server), 10_000)
    eventually(threading.enumerate, lambda threads: len(threads) == 1)


def test_drops_of_the_kernel_are_accounted_for(start):
    server = start(RCVBUF_SIZE="1", FLUSH_COUNT="1")
    stopped = Between(server, lambda: server.signal(signal.SIGSTOP), lambda: server.signal(signal.SIGCONT))
    report = measured(server, stopped, 1000)
    outcome = report.outcome
    assert outcome.kernel_drops > 900
    assert (outcome.lost_in_network, outcome.duplicates, outcome.buffered, outcome.lost_to_disk) == (0, 0, 0, 0)
    assert outcome.stored == 1000 - outcome.kernel_drops == len(server.entries())
    assert report.accounted_for
    assert report.lost == outcome.kernel_drops
    assert not report.lossless


def test_other_senders_are_reported(start):
    server = start(FLUSH_COUNT="1")
    report = measured(server, Between(server, lambda: server.send([ENTRY] * 7)), 100, errors=1)
    assert report.outcome.other_senders == 7
    assert report.outcome.lost_in_network == 0
    assert not report.accounted_for
    assert not report.lossless
    assert report.lost is None
    assert "7 entries came from other senders meanwhile" in report.notes[0]
    numbers = dict(re.findall(r"^ *(\S.*?)  +([0-9,]+)$", as_text(report), re.MULTILINE))
    assert [numbers[name] for name in ("sent", "sent by others meanwhile", "together", "stored")] == [
        "100", "7", "107", "107"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "reason", "count"),
    [({"ALLOW_FROM": "192.0.2.0/24"}, "denied", 200), ({"BUFFER_SIZE": "300"}, "truncated", None)],
)
def test_rejects_are_accounted_for(start, settings, reason, count):
    server = start(FLUSH_COUNT="1", **settings)
    code, report = loadtest(server, "--logs", "200", "--rate", "0", "--error-share", "0")
    outcome = report["outcome"]
    assert code == 1
    assert list(outcome["rejected"]) == [reason]
    assert outcome["rejected"][reason] == count or 0 < outcome["rejected"][reason] < 200
    assert adds_up(report)
    assert outcome["lost_in_network"] == 0
    assert report["accounted_for"]
    assert report["lost"] == outcome["rejected"][reason] == 200 - len(server.entries())


def test_losses_in_the_network_are_told_apart_and_errors_retransmitted(start, closing):
    """The network loses three ordinary datagrams and an ERROR, the last one, and an ACK on its way back."""
    server = start()
    relay = closing(
        LossyRelay(server.port, lambda way, number: number in (3, 4, 5, 49) if way == "there" else number == 0)
    )
    relayed = ["--logs", "50", "--rate", "0", "--clients", "1", "--error-share", "0.02", "--port", str(relay.port)]
    code, report = loadtest(server, *relayed)
    sending, outcome = report["sending"], report["outcome"]
    assert code == 1
    assert (sending["entries"], sending["retransmissions"], sending["acknowledged"]) == (50, 2, 1)
    assert (outcome["stored"], outcome["duplicates"], outcome["lost_in_network"]) == (47, 1, 4)
    assert adds_up(report)
    assert report["lost"] == 3 == 50 - len(server.entries())
    assert outcome["sequence_gaps"] == 3
    assert sending["ack_latency_ms"]["p50"] > 100  # a retransmission


def test_a_server_that_acknowledges_nothing_is_not_waited_for(start):
    server = start(PRIORITY_LEVELS="NONE", FLUSH_COUNT="1")
    code, report = loadtest(server, "--logs", "100", "--rate", "0", "--error-share", "0.5")
    assert code == 0
    assert report["sending"]["priority_entries"] == 0


def test_entries_in_the_buffer_of_the_server_are_reported(start):
    server = start(FLUSH_COUNT="1000000", FLUSH_TIMEOUT_SEC="3600")
    code, report = loadtest(server, "--logs", "100", "--rate", "0", "--error-share", "0")
    assert code == 0
    assert (report["outcome"]["stored"], report["outcome"]["buffered"]) == (0, 100)
    assert len(server.entries()) == 100


def test_a_reader_that_has_seen_enough_changes_nothing(start, tmp_path):
    server = start()
    arguments = command(server, "--logs", "50", "--rate", "0")
    running = subprocess.Popen(
        [*FASTLOG, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=BASE_ENVIRONMENT
    )
    running.stdout.close()
    assert running.stderr.read() == b""
    assert running.wait(PATIENCE_SEC) == 0
    running.stderr.close()


def test_without_a_server_all_is_unknown(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free, socket.socket() as free_too:
        free.bind(("127.0.0.1", 0))
        free_too.bind(("127.0.0.1", 0))
        port, dashboard = str(free.getsockname()[1]), f"http://127.0.0.1:{free_too.getsockname()[1]}"
    done = run_fastlog("loadtest", "--port", port, "--dashboard", dashboard, "--rate", "100", cwd=tmp_path)
    assert done.returncode == 1
    assert len(re.findall(r"^  .* unknown$", done.stdout, re.MULTILINE)) == 6
    assert f"nothing listened on 127.0.0.1 port {port}/udp" in done.stdout
    assert f"cannot ask {dashboard}/stats: Connection refused; use --dashboard for another address" in done.stdout
    assert "\nnote: stopped early: nothing is listening\n" in done.stdout
    assert done.stdout.endswith("what became of the entries is unknown\n")


def test_a_token_is_needed_and_taken_from_the_environment(start):
    server = start(DASHBOARD_TOKEN=TOKEN)
    code, report = loadtest(server, "--logs", "100", "--rate", "0", "--error-share", "0.1")
    assert code == 1
    assert report["outcome"] is None
    assert report["lost"] is None
    assert "/stats answers 401: token required (DASHBOARD_TOKEN)" in report["notes"][0]
    assert report["sending"]["acknowledged"] == 10
    code, _ = loadtest(server, "--logs", "100", "--rate", "0", FASTLOG_DASHBOARD_TOKEN=TOKEN)
    assert code == 0


def test_a_server_that_was_restarted_is_noticed(start):
    server = start()
    figures = StatsClient(f"http://127.0.0.1:{server.dashboard_port}", "").figures()
    later = msgspec.structs.replace(figures, elapsed_seconds=figures.elapsed_seconds + 1)
    assert not restarted(figures, later)
    assert restarted(later, figures)
    assert restarted(figures, msgspec.structs.replace(later, process=msgspec.structs.replace(later.process, pid=1)))


def test_drops_that_the_kernel_does_not_report_are_not_told_from_other_losses(start):
    server = start()
    before = StatsClient(f"http://127.0.0.1:{server.dashboard_port}", "").figures()
    before = with_drops(before, None)
    after = msgspec.structs.replace(before, stored=before.stored + 990, total_received=before.total_received + 990)
    outcome = reconcile(result(0, 1e6, 0).sending, [UNKNOWN], before, after)
    assert (outcome.missing, outcome.kernel_drops, outcome.lost_in_network) == (10, None, None)
    assert re.search(r"^  dropped by the kernel or lost in the network +10$", as_text(report_of(outcome)), re.MULTILINE)
    outcome = reconcile(result(0, 1e6, 0).sending, [UNKNOWN], with_drops(before, 4), with_drops(after, 8))
    assert (outcome.missing, outcome.kernel_drops, outcome.lost_in_network) == (10, 4, 6)
    text = as_text(report_of(outcome))
    assert re.search(r"^  dropped by the kernel \(receive buffer full\) +4$", text, re.MULTILINE)
    assert re.search(r"^  lost in the network +6$", text, re.MULTILINE)


def with_drops(figures: Figures, drops: int | None) -> Figures:
    return msgspec.structs.replace(figures, losses=msgspec.structs.replace(figures.losses, kernel_drops=drops))


def test_the_cpu_time_of_an_entry_is_only_reported_where_there_are_many_and_else_the_reason(start):
    server = start()
    before = StatsClient(f"http://127.0.0.1:{server.dashboard_port}", "").figures()
    used = msgspec.structs.replace(before.process, cpu_seconds=before.process.cpu_seconds + 0.1)
    after = msgspec.structs.replace(before, process=used, elapsed_seconds=before.elapsed_seconds + 2)
    sending = result(0, 1e6, 0).sending
    texts = []
    for received in (2 * CPU_PER_ENTRY_FROM_RATE - 1, 4 * CPU_PER_ENTRY_FROM_RATE):
        loaded = msgspec.structs.replace(after, total_received=before.total_received + received)
        texts.append(as_text(report_of(reconcile(sending, [], before, loaded))))
    assert (
        "\nserver's CPU: 0.10 s, 5.0 % of one core\n  it is not divided by the entries: under 50,000 of them a second"
        in texts[0]
    )
    assert "\nserver's CPU: 0.10 s, 5.0 % of one core, 500 ns an entry\n" in texts[1]


@pytest.mark.parametrize(("priority_entries", "explained"), [(0, False), (7, True)])
def test_the_cost_of_an_entry_says_that_syncs_are_in_it(priority_entries, explained):
    report = result(0, 1e6, 0)
    sending = msgspec.structs.replace(report.sending, priority_entries=priority_entries)
    outcome = msgspec.structs.replace(report.outcome, cpu_ns_per_entry=600.0)
    text = as_text(msgspec.structs.replace(report, sending=sending, outcome=outcome))
    assert ("600 ns an entry\n  the syncs and ACKs of priority entries are in it" in text) == explained


def report_of(outcome: Outcome) -> Report:
    return msgspec.structs.replace(result(0, 1e6, 0), outcome=outcome)


def test_a_corpus_is_sent(start, tmp_path):
    own = {"level": "WARN", "more": [1, {"sequence": 5}], "message": "own", "sequence": 7}
    lines = [b"Jan  1 sshd[7]: error: no route", b"", b"plain \xff", json.dumps(own).encode() + b"\r"]
    lines += [b'{"level":"INFO","message":"\\"sequence\\":1"}', b'{"level":7}', b'{"level":"INFO"']
    (tmp_path / "corpus").write_bytes(b"\n".join(lines))
    server = start()
    code, report = loadtest(server, "--corpus", "corpus", "--logs", "12", "--rate", "0", "--clients", "1")
    assert code == 0
    assert report["sending"]["acknowledged"] == 2
    entries = server.entries()
    sequences = [entry.pop("sequence") for entry in entries]
    assert sequences == list(range(sequences[0], sequences[0] + 12))
    assert [entry["message"] for entry in entries[:6]] == [
        "Jan  1 sshd[7]: error: no route", "plain \ufffd", "own", '"sequence":1', '{"level":7}', '{"level":"INFO"'
    ]  # fmt: skip
    assert [entry["level"] for entry in entries[:6]] == ["ERROR", "INFO", "WARN", "INFO", "INFO", "INFO"]
    assert entries[2] == {key: value for key, value in own.items() if key != "sequence"}
    assert entries[6:] == entries[:6]


def test_the_share_of_errors_is_picked_from_a_corpus(tmp_path):
    (tmp_path / "corpus").write_text("INFO a\nERROR b\nwarning c\n")
    corpus = read_corpus(tmp_path / "corpus").entries
    chosen = picked(random.Random(1), corpus, 100, 30)
    assert Counter(entry.level == "ERROR" for entry in chosen) == {True: 30, False: 70}
    with pytest.raises(ConfigError, match="no ERROR entry"):
        picked(random.Random(1), corpus[:1], 100, 30)


def test_what_fits_in_no_datagram_is_left_out(tmp_path):
    (tmp_path / "corpus").write_text("x" * 70_000 + "\nfits\n")
    corpus = read_corpus(tmp_path / "corpus")
    assert (len(corpus.entries), corpus.left_out) == (1, 1)
    (tmp_path / "corpus").write_text("x" * 70_000)
    with pytest.raises(ConfigError, match="no line that fits"):
        read_corpus(tmp_path / "corpus")


def test_made_up_entries_depend_on_the_seed_alone():
    def messages(seed: int) -> list[tuple[str, str]]:
        entries = made_up(random.Random(seed), 500, 5, None)
        return [(entry.level, json.loads(entry.content)["message"]) for entry in entries]

    assert messages(1) == messages(1) != messages(2)
    assert Counter(level == "ERROR" for level, _ in messages(1)) == {True: 5, False: 495}
    assert messages(1)[-1][0] == "ERROR"
    exact = made_up(random.Random(1), 50, 0, 333)
    assert {len(json.loads(entry.content)["message"]) for entry in exact} == {333}


def test_made_up_entries_carry_the_time_at_which_they_are_sent(start):
    server = start()
    began = datetime.now(UTC)
    code, _ = loadtest(server, "--logs", "30", "--rate", "100", "--clients", "1")
    assert code == 0
    times = [datetime.fromisoformat(entry["timestamp"]) for entry in server.entries()]
    assert began < times[0] <= times[-1] < datetime.now(UTC)
    assert times == sorted(times)
    assert times[-1] > began + timedelta(milliseconds=290)


def test_made_up_messages_have_the_sizes_of_real_logs():
    rng = random.Random(1)
    sizes = sorted(len(made_up_fields(rng)["message"]) for _ in range(5000))
    assert 70 <= sizes[2500] <= 110
    assert sizes[-1] > 600
    for app, templates in TEMPLATES.items():
        assert set(templates) == {"DEBUG", "INFO", "WARNING", "ERROR"}
        for level in templates:
            assert [len(made_up_message(rng, app, level, size)) for size in (0, 1, 90, 2000)] == [0, 1, 90, 2000]


def test_ctrl_c_ends_it_with_a_report(start, follow, tmp_path):
    server = start(FLUSH_COUNT="1")
    lines = follow(tmp_path / "server.log")
    arguments = command(server, "--rate", "50", "--logs", "1000000", "--error-share", "0", "--json")
    running = subprocess.Popen(
        [*FASTLOG, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=BASE_ENVIRONMENT
    )
    lines.line()
    running.send_signal(signal.SIGINT)
    text, messages = running.communicate(timeout=PATIENCE_SEC)
    assert running.returncode == 130
    assert messages == (
        b"fastlog: interrupted; waiting up to 10 s for what is still on its way, Ctrl-C again to leave\n"
    )
    report = json.loads(text)
    assert report["sending"]["interrupted"]
    assert report["accounted_for"], report
    assert report["outcome"]["stored"] == report["sending"]["entries"] == len(server.entries())


def test_a_second_ctrl_c_does_not_wait_for_the_server(start, closing):
    server = start(FLUSH_COUNT="1000000", FLUSH_TIMEOUT_SEC="29")
    running = sending(server, "--rate", "50", "--logs", "1000000", "--error-share", "0")
    closing(running.stderr)
    running.send_signal(signal.SIGINT)
    assert b"interrupted; waiting up to 30 s" in running.stderr.readline()
    interrupted_at = monotonic()
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE_SEC) == 130
    assert monotonic() - interrupted_at < 15
    assert running.stderr.read() == b""


def test_ctrl_c_ends_a_search(start, closing):
    server = start()
    running = sending(server, "--find-max", "--duration", "3000", "--clients", "1")
    closing(running.stderr)
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE_SEC) == 130


def sending(server, *arguments: str) -> subprocess.Popen:
    """A load test of which the server has received something."""
    running = subprocess.Popen(
        [*FASTLOG, *command(server, *arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=server.directory, env=BASE_ENVIRONMENT,
    )  # fmt: skip
    stats_client = StatsClient(f"http://127.0.0.1:{server.dashboard_port}", "")
    eventually(stats_client.figures, lambda figures: figures.total_received > 0)
    return running


def test_a_bar_is_drawn_on_a_terminal(start, tmp_path):
    server = start()
    leader, follower = pty.openpty()
    arguments = command(server, "--rate", "2000", "--logs", "600")
    running = subprocess.Popen(
        [*FASTLOG, *arguments], stdout=subprocess.PIPE, stderr=follower, cwd=tmp_path,
        env={**BASE_ENVIRONMENT, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(follower)
    drawn = b""
    while part := read_terminal(leader):
        drawn += part
    os.close(leader)
    report, _ = running.communicate(timeout=PATIENCE_SEC)
    assert running.returncode == 0
    assert b"/600" in drawn
    assert b"lost 0" in drawn
    assert report.decode().startswith(f"sent to 127.0.0.1 port {server.port}/udp: 600 entries, by 4 clients, ")
    assert report.decode().endswith("every entry is accounted for: nothing was lost\n")


def read_terminal(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # the other side has ended
        return b""


def test_a_rate_that_never_loses_is_limited_by_the_sender(start):
    server = start()
    code, found = loadtest(server, "--find-max", "--logs", "300", "--clients", "2")
    assert code == 0
    assert found["limited_by"] == "sender"
    assert found["rate"] == min(probe["rate"] for probe in found["probes"])
    assert [(probe["rate_asked"], probe["missing"]) for probe in found["probes"]] == [(0, 0), (0, 0)]


def result(asked: float, reached: float, drops: int) -> Report:
    none = Latency(None, None, None)
    sending = Sending("s", 1, asked, reached, 1.0, 1000, 0, 1, 0, 0, 0, none, refused=False, interrupted=False)
    outcome = Outcome(1000 - drops, 0, 0, {}, 0, drops, drops, 0, 0, 0, 0.1, 0.1, None)
    return Report(sending, outcome, accounted_for=True, lost=drops, notes=[])


@pytest.mark.parametrize("limit", [900_000, 123_456, 7_000])
def test_the_search_ends_near_the_limit(limit):
    shown = []
    found = Search(
        lambda rate, longer: result(rate, rate or 1e6, 100 if (rate or 1e6) > limit else 0), shown.append
    ).run()
    assert found.limited_by == "loss"
    assert limit * 0.6 <= found.rate <= limit
    assert len(found.probes) <= 1 + STEPS_MAX + CONFIRMATIONS_MAX
    assert shown[-1].startswith("highest rate without loss: ")


def test_a_rate_that_does_not_hold_for_longer_is_not_the_answer():
    found = Search(
        lambda rate, longer: result(rate, rate or 1e6, 1 if (rate or 1e6) > (5e5 if longer == 1 else 4e5) else 0)
    ).run()
    assert 3e5 <= found.rate <= 4e5


def test_no_rate_is_found_where_all_lose():
    assert Search(lambda rate, longer: result(rate, rate or 1e6, 1)).run().rate is None


def test_a_search_without_figures_ends_with_the_reason(tmp_path):
    with pytest.raises(SearchError, match="cannot search: why"):
        Search(lambda rate, longer: Report(result(1, 1, 0).sending, None, False, None, ["why"])).run()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--logs", "0"], ["--logs", "many"], ["--rate", "-1"], ["--rate", "nan"], ["--clients", "0"],
        ["--clients", "1000"], ["--error-share", "1.1"], ["--message-bytes", "99999"], ["--port", "0"],
        ["--corpus", "no-such-file"], ["--corpus", "x", "--message-bytes", "5"], ["--dashboard", "8080"],
        ["--dashboard", "http://[::1"], ["--seed", "x"],
    ],
)  # fmt: skip
def test_wrong_usage_rejected(tmp_path, arguments):
    done = run_fastlog("loadtest", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr


def test_every_flag_is_documented(tmp_path):
    flags = set(re.findall(r"--[a-z-]+", run_fastlog("loadtest", "--help", cwd=tmp_path).stdout)) - {"--help"}
    text = (Path(__file__).parents[2] / "docs/loadtest.md").read_text()
    assert flags == set(re.findall(r"`(--[a-z-]+)`", "".join(re.findall(r"^\| `--.*?\|", text, re.MULTILINE))))
