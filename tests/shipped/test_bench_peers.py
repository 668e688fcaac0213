"""The comparison with other collectors runs, and its counts are right. The load is tiny; times are not checked."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UDPSEND = ROOT / "build/peers/udpsend"
COUNT = 150  # entries; they fit in the smallest receive buffer that a system grants, so none may be lost
PATIENCE_SEC = 60


def bench_peers(tmp_path: Path, *options: str) -> dict:
    result = tmp_path / "result.json"
    done = script("bench_peers", "--json", str(result), "--directory", str(tmp_path), *options)
    assert done.returncode == 0, done.stderr
    return {**json.loads(result.read_text()), "table": done.stdout}


def script(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SEC, check=False)


def test_every_entry_sent_is_stored(tmp_path):
    options = ["--systems", "ceiling,fastlog,usual-python", "--count", str(COUNT), "--rates", "3000", "--rounds", "1"]
    result = bench_peers(tmp_path, *options, "--senders", "7", "--error-share", "0.1")
    assert [row["system"] for row in result["rows"]] == ["ceiling", "fastlog", "usual-python"]
    for row in result["rows"]:
        assert (row["sent"], row["stored"], row["kernel_drops"]) == (COUNT, COUNT, 0)
        assert row["datagrams"] == COUNT
        assert row["cpu_ns"] > 0
        assert row["ns_each"] == row["cpu_ns"] / COUNT
        assert row["receive_buffer"] > 0
        assert row["peak_memory_bytes"] > 0
    assert 0.05 < result["about"]["error_share"] < 0.15
    rows = [line for line in result["table"].splitlines() if line.startswith("| fastlog")]
    assert " 100 % |" in rows[0]


@pytest.mark.parametrize("form", ["rfc3164", "rfc5424"])
def test_syslog_is_sent_and_stored(tmp_path, form):
    options = ["--form", form, "--systems", "fastlog", "--count", str(COUNT), "--rates", "0", "--rounds", "1"]
    [row] = bench_peers(tmp_path, *options)["rows"]
    assert (row["sent"], row["stored"], row["datagrams"]) == (COUNT, COUNT, COUNT)


@pytest.mark.parametrize(("option", "datagrams"), [(["--per-datagram", "7"], 22), (["--segment-bytes", "800"], COUNT)])
def test_several_entries_in_a_send_are_stored_each(tmp_path, option, datagrams):
    options = ["--systems", "fastlog", "--count", str(COUNT), "--rates", "0", "--rounds", "1", "--message-bytes", "90"]
    [row] = bench_peers(tmp_path, *options, *option)["rows"]
    assert (row["sent"], row["stored"], row["datagrams"]) == (COUNT, COUNT, datagrams)


def test_a_log_file_of_the_user_is_sent(tmp_path):
    (tmp_path / "own.log").write_text('{"level":"INFO","message":"an entry"}\nsome "other" line\n\n')
    options = ["--systems", "fastlog", "--count", str(COUNT), "--rates", "0", "--rounds", "1"]
    result = bench_peers(tmp_path, *options, "--corpus", str(tmp_path / "own.log"))
    assert result["about"]["entries"] == 2
    assert result["rows"][0]["stored"] == COUNT


def test_each_sender_counts_its_own_entries(tmp_path):
    subprocess.run(
        [sys.executable, "-c", "from benchmarks.peers import collectors; collectors.build()"], cwd=ROOT, check=True
    )
    (tmp_path / "entries").write_text('{"sequence":1000000000,"level":"INFO","message":""}\n')
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(PATIENCE_SEC)
        receiver.bind(("127.0.0.1", 0))
        options = {
            "-p": receiver.getsockname()[1],
            "-f": tmp_path / "entries",
            "-n": 60,
            "-s": 3,
            "-k": 2,
            "-r": 100_000,
        }
        subprocess.run([UDPSEND, *(str(part) for pair in options.items() for part in pair)], check=True)
        sequences = {}
        for _ in range(30):
            datagram, (address, _) = receiver.recvfrom(65536)
            sequences.setdefault(address, []).extend(json.loads(line)["sequence"] for line in datagram.splitlines())
    assert list(sequences) == ["127.1.0.0", "127.1.0.1", "127.1.0.2"]
    assert all(found == list(range(found[0], found[0] + 20)) for found in sequences.values())
    assert len(set().union(*sequences.values())) == 60


def test_the_page_of_figures_is_made_from_the_figures():
    done = script("report", "--check")
    assert done.returncode == 0, done.stderr
