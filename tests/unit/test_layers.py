"""Who may import whom. The tree shows the arrows of ARCHITECTURE.md, and nothing goes against them."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HALL = ""  # the modules that lie in fastlog/ itself
MAY_IMPORT = {
    HALL: {HALL},
    "archive": {HALL, "archive"},
    "logs": {HALL, "archive", "logs"},
    "inputs": {HALL, "inputs"},
    "view": {HALL, "archive", "logs", "view"},
    "server": {HALL, "archive", "inputs", "view", "server"},
    "client": {HALL, "client"},
    "loadtest": {HALL, "client", "loadtest"},
    "ship": {HALL, "archive", "logs", "ship"},
    "commands": {HALL, "archive", "logs", "server", "client", "loadtest", "ship", "commands"},
    "testing": {HALL, "client", "testing"},
}
# The command line starts the server; it imports the commands by name, when they run.
EXCEPTIONS = {("fastlog.cli", "fastlog.server.server")}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in (ROOT / "fastlog").rglob("*") if path.suffix in (".py", ".pyx", ".pxd")}


def package_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else HALL


def imports_of_python(source: str) -> set[str]:
    """Every module named by an import, wherever it stands, but for those that only a type checker makes."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & MODULES or {node.module}
    return found


def imports_of_cython(source: str) -> set[str]:
    return set(re.findall(r"^\s*(?:from|import|cimport) (fastlog[\w.]*)", source, re.MULTILINE))


def arrows() -> set[tuple[str, str]]:
    found = set()
    for path in (ROOT / "fastlog").rglob("*"):
        if path.suffix in (".py", ".pyx", ".pxd"):
            read = imports_of_python if path.suffix == ".py" else imports_of_cython
            found |= {(module_of(path), target) for target in read(path.read_text()) if target.startswith("fastlog")}
    return {(source, target) for source, target in found if source != target}


def test_imports_go_downwards_only():
    assert MAY_IMPORT.keys() == {HALL, *(path.parent.name for path in (ROOT / "fastlog").glob("*/__init__.py"))}
    against = {
        (source, target)
        for source, target in arrows() - EXCEPTIONS
        if package_of(target) not in MAY_IMPORT[package_of(source)]
    }
    assert not against


def test_no_imports_go_round_in_a_circle():
    targets: dict[str, set[str]] = {}
    for source, target in arrows():
        if "fastlog" not in (source, target):  # every import passes through the package itself
            targets.setdefault(source, set()).add(target)
    left = set(targets)
    while ends := {module for module in left if not targets[module] & left}:
        left -= ends
    assert not left, f"among these modules imports go round: {sorted(left)}"
