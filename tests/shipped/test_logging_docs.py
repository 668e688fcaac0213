"""The examples of docs/python-logging.md before its recipes, run as they stand but for the port."""

import json
import re
from pathlib import Path

import pytest

from tests.helpers.running import run_python

DOCUMENT = Path(__file__).parents[2] / "docs" / "python-logging.md"
TEXT = DOCUMENT.read_text().partition("\n## Recipes\n")[0]
EXAMPLES = re.findall(r"^## (\S+)$|^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def examples() -> dict[str, str]:
    found, title, number = {}, "", 0
    for heading, code in EXAMPLES:
        title, number = (heading, 0) if heading else (title, number + 1)
        if code:
            found[f"{title} {number}"] = code
    return found


EXPECTED = {
    "logging 1": {"level": "INFO", "message": "paid", "order": 1093, "app": "shop", "logger": "root"},
    "logging 2": {"level": "ERROR", "message": "timed out after 30 s", "app": "shop", "logger": "shop.payment"},
    "structlog 1": {"level": "INFO", "message": "paid", "order": 1093, "app": "shop"},
    "loguru 1": {"level": "INFO", "message": "paid", "order": 1093, "app": "shop", "logger": "__main__"},
}


def test_every_example_is_here():
    assert list(examples()) == list(EXPECTED)


@pytest.mark.parametrize("example", EXPECTED)
def test_example(start, example):
    server = start()
    code = examples()[example].replace("5514", str(server.port))
    done = run_python(code, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    server.stop()
    entries = [json.loads(line) for line in server.log().splitlines()]
    assert any(EXPECTED[example].items() <= entry.items() for entry in entries), entries
