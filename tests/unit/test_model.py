"""Random runs of the server's core, compared with what it promises: `tests/helpers/model.py` says what is in a run."""

import os
from pathlib import Path

import pytest

from tests.helpers.model import Rig
from tests.helpers.random_runs import report, why_it_fails

RUNS = int(os.environ.get("FASTLOG_MODEL_RUNS", "600"))
FIRST = int(os.environ.get("FASTLOG_MODEL_FIRST", "0"))  # seeds are numbers from here on
SHARES = 4  # run side by side by `pytest -n`


@pytest.fixture
def rig(tmp_path):
    directory = Path(f"/dev/shm/fastlog-model-{os.getpid()}")
    rig = Rig(directory if os.access(directory.parent, os.W_OK) else tmp_path / "model")
    yield rig
    rig.close()


@pytest.mark.parametrize("share", range(SHARES))
def test_every_random_run_keeps_what_is_promised(rig, share):
    for seed in range(FIRST + share, FIRST + RUNS, SHARES):
        if why := why_it_fails(rig, seed):
            pytest.fail(report(rig, seed, why))


def test_a_run_is_the_same_each_time(rig):
    traces = []
    for _ in range(2):
        traces.append([])
        assert why_it_fails(rig, 12, trace=traces[-1]) is None
    assert traces[0] == traces[1]
    assert len(traces[0]) > 10
