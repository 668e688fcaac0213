"""What the server keeps for `fastlog ship` beyond LOG_BACKUPS, and what it says of it."""

import re
import signal
import subprocess

import pytest

from fastlog.segments import identity_of, shipped_path
from tests.helpers.nats import NODE, STREAM, NatsServer, needs_nats
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, eventually, get, run_fastlog, until
from tests.helpers.shipping import write_note

LIVE = "server.log"
FILE = {"MAX_LOG_SIZE_MB": "0.001", "FLUSH_COUNT": "1"}  # about 16 lines in each


def lines(first, count):
    return [
        b'{"level":"INFO","message":"number %06d","sequence":%d}' % (number, number)
        for number in range(first, first + count)
    ]


def stored(server, count):
    return eventually(server.stats, lambda stats: stats["stored"] == count)


def log_files(directory):
    return [path for path in directory.iterdir() if re.fullmatch(r"server\.log(\.\d+)?", path.name)]


def segments(directory):
    return sorted(identity_of(path).segment for path in log_files(directory))


def metrics(server):
    text = get(server.dashboard_port, "/metrics").text
    return {name: float(value) for name, value in re.findall(r"^(fastlog_\w+) (\S+)$", text, re.MULTILINE)}


def test_with_the_engine_away_nothing_is_deleted(start, tmp_path):
    server = start(LOG_BACKUPS="1", **FILE)
    write_note(tmp_path / LIVE, 1)
    sent = lines(0, 1_000)
    server.send(sent)
    stats = stored(server, 1_000)
    assert stats["losses"]["unshipped"] == 0
    assert stats["ship"]["lag_bytes"] == sum(len(line) + 1 for line in sent)
    assert stats["ship"]["segment"] == 1
    assert stats["disk"]["rotations"] > 50
    assert segments(tmp_path) == list(range(1, stats["disk"]["rotations"] + 2))
    assert server.whole_log().splitlines() == sent
    done = run_fastlog("tail", "--log-dir", ".", "-n", "all", "--json", cwd=tmp_path)
    assert (done.stdout.encode().splitlines(), done.stderr) == (sent, "")
    newest = segments(tmp_path)[-1]
    write_note(tmp_path / LIVE, newest)
    until(lambda: len(log_files(tmp_path)) == 2, "the end of the hold")
    assert segments(tmp_path) == [newest - 1, newest]
    assert eventually(server.stats, lambda stats: stats["ship"]["segment"] == newest)["health"]["status"] == "ok"
    assert server.stop() == 0


def test_beyond_the_hold_the_count_is_what_is_missing(start, tmp_path):
    server = start(LOG_BACKUPS="1", SHIP_HOLD_MB="0.01", **FILE)
    assert server.stats()["ship"] is None
    assert "fastlog_ship_lag_bytes" not in metrics(server)
    write_note(tmp_path / LIVE, 1, problem="the engine is away")
    server.send(lines(0, 140))
    stats = eventually(server.stats, lambda stats: stats["health"].get("reasons"))
    assert re.fullmatch(
        r"\d+ archives of 0\.0 MB are held until they are shipped: the engine is away; beyond 1000 archives or "
        rf"SHIP_HOLD_MB=0\.01 the oldest are deleted; if nobody ships this log any more, remove {tmp_path}/server.log.shipped",
        stats["health"]["reasons"][0],
    )
    assert stats["health"]["warnings"] == ["the log is not shipped: the engine is away"]
    server.send(lines(140, 1_860))
    stored(server, 2_000)
    until(lambda: len(log_files(tmp_path)) <= 13, "an end of deleting")
    assert segments(tmp_path)[0] == 1  # the one that the shipper may be in
    missing = 2_000 - server.whole_log().count(b"\n")
    stats = eventually(server.stats, lambda stats: stats["losses"]["unshipped"] == missing)
    assert stats["losses"]["seconds_since"]["unshipped"] < 600
    assert f"{missing} lines were deleted before they were shipped: SHIP_HOLD_MB was full" in stats["health"]["reasons"]
    assert stats["ship"]["lag_bytes"] == sum(path.stat().st_size for path in tmp_path.glob("server.log*")) - len(
        shipped_path(tmp_path / LIVE).read_bytes()
    )
    found = metrics(server)
    assert found["fastlog_unshipped_lost_lines_total"] == missing
    assert found["fastlog_ship_lag_bytes"] == stats["ship"]["lag_bytes"]
    assert found["fastlog_ship_lag_seconds"] >= 0
    assert server.stop() == 0
    assert f"deleted before they were shipped {missing}" in server.account
    assert len([line for line in server.messages if "more than SHIP_HOLD_MB" in line]) == 1


def test_archives_that_wait_are_compressed_and_counted_by_their_text(start, tmp_path):
    """The hold has room for more of them then."""
    file = FILE | {"LOG_COMPRESS": "zstd", "MAX_LOG_SIZE_MB": "0.01", "LOG_BACKUPS": "1"}
    server = start(**file)
    write_note(tmp_path / LIVE, 1, len(lines(0, 1)[0]) + 1)
    sent = lines(0, 2_000)
    server.send(sent)
    rotations = stored(server, 2_000)["disk"]["rotations"]
    until(lambda: len(compressed(tmp_path)) == rotations, "an end of compressing")
    stats = server.stats()
    assert stats["ship"]["lag_bytes"] == sum(len(line) + 1 for line in sent[1:])
    assert sum(path.stat().st_size for path in compressed(tmp_path)) < stats["ship"]["lag_bytes"] / 3
    assert server.whole_log().splitlines() == sent
    assert server.stop() == 0
    held = sum(path.stat().st_size for path in compressed(tmp_path))
    server = start(**file, SHIP_HOLD_MB=str(held / 2 / 1e6))
    until(lambda: len(compressed(tmp_path)) < rotations, "an end of deleting")
    missing = 2_000 - server.whole_log().count(b"\n")
    stats = eventually(server.stats, lambda stats: stats["losses"]["unshipped"])
    assert stats["losses"]["unshipped"] == missing
    assert sum(path.stat().st_size for path in compressed(tmp_path)) > held / 3
    assert server.stop() == 0


def compressed(directory):
    return list(directory.glob("server.log.*.zst"))


def test_when_the_note_is_removed_the_hold_ends(start, tmp_path):
    server = start(LOG_BACKUPS="2", SHIP_HOLD_MB="0.02", **FILE)
    write_note(tmp_path / LIVE, 1)
    server.send(lines(0, 300))
    eventually(server.stats, lambda stats: stats["health"]["status"] == "degraded")
    shipped_path(tmp_path / LIVE).unlink()
    stats = eventually(server.stats, lambda stats: stats["health"]["status"] == "ok")
    assert stats["ship"] is None
    assert stats["losses"]["unshipped"] == 0
    assert len(segments(tmp_path)) == 3
    assert server.stop() == 0


def test_the_lag_follows_the_note(start, tmp_path):
    server = start(**FILE)
    write_note(tmp_path / LIVE, 1)
    [line] = lines(0, 1)
    server.send([line])
    stats = eventually(server.stats, lambda stats: stats["ship"] and stats["ship"]["lag_seconds"] > 1.5)
    assert stats["ship"]["lag_bytes"] == len(line) + 1
    write_note(tmp_path / LIVE, 1, len(line) + 1)
    stats = eventually(server.stats, lambda stats: stats["ship"]["lag_bytes"] == 0)
    assert stats["ship"] == {"lag_bytes": 0, "lag_seconds": 0.0, "segment": 1, "problem": ""}
    assert server.stop() == 0


class ShipProcess:
    """`fastlog ship` of the log in a directory, which says nothing that anybody reads."""

    def __init__(self, directory, url):
        self.process = subprocess.Popen(
            [*FASTLOG, "ship", "--log-dir", ".", "--to", url, "--node", NODE, "--create"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory,
            env=BASE_ENVIRONMENT,
        )

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_SEC)


@needs_nats
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, None])
def test_what_an_engine_misses_after_an_outage_is_what_was_counted(start, tmp_path, closing, how):
    """The engine dies or hangs, with a batch under way; or the shipper dies."""
    nats = closing(NatsServer(tmp_path / "nats"))
    url = f"{nats.url}/{STREAM}"
    server = start(LOG_BACKUPS="1", SHIP_HOLD_MB="0.02", **FILE)
    shipper = closing(ShipProcess(tmp_path, url))
    eventually(server.stats, lambda stats: stats["ship"])
    sent = lines(0, 500)
    server.send(sent)
    eventually(server.stats, lambda stats: stats["ship"]["lag_bytes"] < 20_000)
    if how is None:
        shipper.close()
    else:
        nats.signal(how)
    more = lines(500, 2_500)
    server.send(more)
    stored(server, 3_000)
    eventually(server.stats, lambda stats: stats["losses"]["unshipped"] > 1_000)
    if how is None:
        shipper = closing(ShipProcess(tmp_path, url))
    elif how == signal.SIGSTOP:
        nats.signal(signal.SIGCONT)
    else:
        nats.close()
        nats.start()
    last = lines(3_000, 500)
    server.send(last)  # while it catches up
    stored(server, 3_500)
    stats = eventually(server.stats, lambda stats: stats["ship"]["lag_bytes"] == 0)
    shipped = nats.data().splitlines()
    assert len(shipped) == len(set(shipped))
    missing = set(sent + more + last) - set(shipped)
    assert stats["losses"]["unshipped"] == len(missing)
    assert server.stop() == 0
