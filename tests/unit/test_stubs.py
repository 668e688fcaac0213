"""The stubs (.pyi) of the compiled modules, by which types are checked, against the modules themselves."""

import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUBS = sorted((ROOT / "fastlog").rglob("*.pyi"))


def module_of(stub: Path):
    return import_module(".".join(stub.relative_to(ROOT).with_suffix("").parts))


def declared(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """What a stub declares, by name. A TypedDict is only for those who read the stub."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            is_typed_dict = isinstance(node, ast.ClassDef) and any(ast.unparse(b) == "TypedDict" for b in node.bases)
            if not is_typed_dict:
                found[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            found[ast.unparse(node.target)] = node
    return found


def public(names) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def parameters(function) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def declared_parameters(node: ast.FunctionDef) -> list[str]:
    arguments = node.args
    return [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg != "self"]


def test_every_compiled_module_has_a_stub():
    assert [path.with_suffix(".pyx") for path in STUBS] == sorted((ROOT / "fastlog").rglob("*.pyx"))


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.stem)
def test_a_stub_declares_what_its_module_has(stub):
    module = module_of(stub)
    names = declared(ast.parse(stub.read_text()).body)
    assert public(names) <= set(dir(module))
    made_here = {name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    functions = {name for name in public(made_here) if callable(getattr(module, name))}
    assert {name for name in functions if not inspect.isclass(getattr(module, name))} <= set(names)
    for name, node in names.items():
        value = getattr(module, name)
        if isinstance(node, ast.FunctionDef):
            assert parameters(value) == declared_parameters(node), name
        elif isinstance(node, ast.ClassDef):
            members = public(declared(node.body))
            assert members == public(vars(value)), name
