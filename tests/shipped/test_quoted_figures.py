"""The figures that documents quote are those of docs/performance.json, and only those."""

import json
import shutil

import pytest

from benchmarks import quoted, report
from benchmarks.measure import RESULT, ROOT


@pytest.fixture
def known():
    return quoted.figures(json.loads(RESULT.read_text()))


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the documents, for the program that writes figures into them."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.svg", "*.png"))
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.setattr(quoted, "ROOT", tmp_path)
    return tmp_path


def run(monkeypatch, *flags: str) -> int:
    monkeypatch.setattr("sys.argv", ["quoted", *flags])
    return quoted.main()


def test_each_document_quotes_the_figures_as_they_are(monkeypatch, capsys):
    assert run(monkeypatch, "--check") == 0, capsys.readouterr().out


def test_every_quoted_figure_has_its_row(known):
    page = report.page(json.loads(RESULT.read_text()))
    for name, figure in known.items():
        assert f'<a id="{name}"></a>{figure.meaning}' in page
        assert figure.text in page


def test_the_headline_has_its_rate_beside_it(known):
    assert known["entry"].text.endswith(" ns of CPU time at 200,000 entries/s")
    assert f"[{known['entry'].text}](docs/performance.md#entry)" in (ROOT / "README.md").read_text()


def test_a_figure_that_differs_is_found_and_mended(known, copied, monkeypatch, capsys):
    readme = copied / "README.md"
    right = readme.read_text()
    readme.write_text(right.replace(f"[{known['call'].text}]", "[9,999 µs]"))
    assert run(monkeypatch, "--check") == 1
    assert capsys.readouterr().out == "README.md: a quoted figure is not that of docs/performance.md; run make docs\n"
    assert run(monkeypatch) == 0
    assert readme.read_text() == right


@pytest.mark.parametrize("time", ["540 ns", "1,040 ns", "0.9 µs", "[540 ns](loadtest.md)"])
def test_a_figure_that_is_not_from_the_page_is_found(copied, monkeypatch, capsys, time):
    with (copied / "docs/loadtest.md").open("a") as document:
        document.write(f"An entry costs {time}.\n")
    assert run(monkeypatch, "--check") == 1
    assert "docs/loadtest.md: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("figure", "shown"), [(1795, "1,800"), (600.4, "600"), (21.33, "21"), (1.2467, "1.2"), (9.97, "10")]
)
def test_a_quoted_figure_has_two_digits(figure, shown):
    assert quoted.rounded(figure) == shown
