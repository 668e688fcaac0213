"""The examples of docs/python-client.md: each runs as a program against the real server, and all pass mypy's strict mode."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, run_python

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python-client.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_and_all_it_sends_is_stored(start, tmp_path, example):
    server = start()
    program = example.replace("5514", str(server.port))
    assert program.count("\n") <= 12
    assert run_python(program, cwd=tmp_path).stderr == ""
    server.stop()
    calls = (
        50_000
        if "range(50_000)" in example
        else len(re.findall(r"client\.(?:send|send_entry|info|exception)\(", example))
    )
    assert server.whole_log().count(b"\n") == calls
    assert "dropped by the kernel 0" in server.account


def test_the_examples_are_typed(tmp_path):
    files = []
    for number, example in enumerate(EXAMPLES):
        files.append(tmp_path / f"example_{number}.py")
        files[-1].write_text(example)
    cache = ROOT / ".mypy_cache"
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--strict", "--cache-dir", cache, *files]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**BASE_ENVIRONMENT, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
