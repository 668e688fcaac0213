"""The measurements of `fastlog ship` run, and find each line once. The loads are tiny; times are not checked."""

import subprocess
import sys
from pathlib import Path

from tests.helpers.nats import needs_nats

pytestmark = needs_nats

ROOT = Path(__file__).parents[2]
PATIENCE_SEC = 60


def bench_ship(tmp_path: Path, *options: str) -> dict[str, list[str]]:
    """The rows of the table: what was measured, the figure, what is asked for, and whether that is met."""
    command = [sys.executable, "-m", "benchmarks.bench_ship", *options, "--rounds", "1", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SEC, check=False)
    assert "| what" in done.stdout, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line]
    return {what: rest for what, *rest in rows[2:]}


def test_a_log_that_is_there_is_shipped_and_read(tmp_path):
    rows = bench_ship(tmp_path, "speed", "--lines", "3001")
    assert len(rows) == 8
    for what in ("NATS, CPU of the shipper for a line", "_bulk, CPU of the shipper for a line"):
        figure, unit = rows[f"speed: {what}"][0].split()
        assert (float(figure) != 0, unit) == (True, "µs")
    assert list(tmp_path.iterdir()) == []


def test_a_load_is_stored_and_shipped(tmp_path):
    rows = bench_ship(tmp_path, "beside", "--seconds", "0.3")
    stored, _, is_met = rows["beside: lines in the stream"]
    assert int(stored.replace(",", "")) > 0
    assert is_met == "yes"
    assert rows["beside: messages out of order, twice, or behind a gap"][0] == "0"
