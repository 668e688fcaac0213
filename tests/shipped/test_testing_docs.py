"""The examples of docs/testing.md: each runs as a test, with its conftest.py, and all pass mypy's strict mode."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC

ROOT = Path(__file__).parents[2]
CONFTEST, *EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL)


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**BASE_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC * 2,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs_under_pytest(tmp_path, number):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_example.py").write_text(EXAMPLES[number])
    tests = EXAMPLES[number].count("def test_")
    assert tests
    assert f"{tests} passed" in run("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", cwd=tmp_path)


def test_the_last_example_runs_under_unittest(tmp_path):
    (tmp_path / "test_example.py").write_text(EXAMPLES[-1])
    assert "Ran 2 tests" in run("-W", "error", "-m", "unittest", cwd=tmp_path)


def test_the_examples_are_typed(tmp_path):
    for number, example in enumerate([CONFTEST, *EXAMPLES]):
        (tmp_path / f"example_{number}.py").write_text(example)
    options = ["--config-file", "", "--strict", "--cache-dir", ROOT / ".mypy_cache"]
    run("-m", "mypy", *options, *sorted(tmp_path.glob("*.py")), cwd=tmp_path, MYPYPATH=str(ROOT))
