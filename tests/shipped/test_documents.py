"""What the documents say of the tree: each file and each test that they name exists, and each module is described."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *def\s(test_\w+)\(", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document):
    named = set(re.findall(r"`(test_\w+)`", document.read_text()))
    assert named <= TESTS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document):
    folders = "|".join(path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith("."))
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", document.read_text())
    made = ("build/", "logs/", "dist/")  # these folders are made by the commands that the document explains
    assert [path for path in named if not path.startswith(made) and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_repository_leads_somewhere(document):
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_the_table_of_files_has_every_module_and_nothing_else():
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("## Files in reading order")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("|")]
    described, folder = set(), ROOT / "fastlog"
    for row in rows:
        if heading := re.fullmatch(r" \*\*`(\w+)/`\*\* ", row):
            folder = ROOT / "fastlog" / heading[1]
        described |= {folder / name for name in re.findall(r"`([\w.]+\.(?:py|pyx|pxd|h))`", row)}
    present = {
        path
        for path in (ROOT / "fastlog").rglob("*")
        if path.suffix in (".py", ".pyx", ".pxd", ".h") and path.name not in ("__init__.py", "__main__.py")
    }
    implied = {path for path in present if path.suffix == ".pxd" and path.with_suffix(".pyx") in described}
    assert sorted(map(str, described - present)) == []
    assert sorted(map(str, present - described - implied)) == []


@pytest.mark.parametrize("package", sorted((ROOT / "fastlog").glob("*/__init__.py")), ids=lambda path: path.parent.name)
def test_the_docstring_of_a_package_names_its_modules_and_no_others(package):
    docstring = ast.get_docstring(ast.parse(package.read_text()))
    named = set(re.findall(r"`(\w+)\.(?:py|pyx|pxd)`", docstring))
    modules = {path.stem for path in package.parent.iterdir() if path.suffix in (".py", ".pyx", ".pxd")}
    assert named == modules - {"__init__"}


def test_every_module_that_the_architecture_names_exists():
    package = ROOT / "fastlog"
    modules = [path for path in package.rglob("*") if path.suffix in (".py", ".pyx", ".pxd")]
    known = {str(path.relative_to(above)) for path in modules for above in (path.parent, package, ROOT)}
    named = re.findall(r"(?<![\w./])((?:\w+/)?\w+\.(?:pyx|pxd|py))\b", (ROOT / "ARCHITECTURE.md").read_text())
    assert set(named) - known == {"setup.py"}
