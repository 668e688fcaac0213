"""The client refuses to run without the GIL: its counters and lanes have no locks."""

import os
import subprocess
import sys

import pytest

WITHOUT_GIL = "import sys; sys._is_gil_enabled = lambda: False\n"


@pytest.mark.parametrize("pure", ["0", "1"])
@pytest.mark.parametrize("name", ["Client", "Handler"])
def test_the_client_says_how_to_start_python_when_the_gil_is_off(pure, name):
    refused = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT_GIL}from fastlog import {name}"],
        env={**os.environ, "FASTLOG_PURE": pure},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("ImportError: fastlog's client needs Python's GIL, and it is switched off;")
    assert "PYTHON_GIL=1" in last
