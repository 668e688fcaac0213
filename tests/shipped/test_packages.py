"""The sdist and the wheel. `make dist` builds the whole wheel; the one here has a single compiled module."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.running import BASE_ENVIRONMENT

ROOT = Path(__file__).parents[2]
BUILD_SEC = 100
COMPILED = "fastlog/server/_aio"  # the smallest of the compiled modules
NOT_COPIED = {".git", ".venv", "build", "dist", "logs", ".hypothesis"}


def build(tree: Path, kind: str, **environment: str) -> Path:
    """Builds an `sdist` or a `wheel` as pip does, but with the setuptools of this environment."""
    program = f"import setuptools.build_meta; setuptools.build_meta.build_{kind}('dist')"
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tree,
        env=BASE_ENVIRONMENT | environment,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=BUILD_SEC,
    )
    (built,) = (tree / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The unpacked sdist, made from a copy of the tree in which modules have been compiled."""
    tree = tmp_path_factory.mktemp("sdist") / "tree"
    shutil.copytree(
        ROOT, tree, ignore=lambda directory, names: NOT_COPIED & set(names) if directory == str(ROOT) else []
    )
    (tree / f"{COMPILED}.c").touch()
    (tree / f"{COMPILED}.so").touch()
    archive = build(tree, "sdist")
    (tree / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", tree / "unpacked"], check=True)
    (unpacked,) = (tree / "unpacked").iterdir()
    assert archive.name == f"{unpacked.name}.tar.gz"
    return unpacked


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout: nothing says which files the project has")
def test_the_sdist_has_every_file_of_the_repository_and_nothing_that_was_built(sdist):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    packed = files_below(sdist)
    assert {name for name in listed if (ROOT / name).is_file()} - packed == set()
    assert {name for name in packed if re.search(r"/_\w+\.c$|\.so$|\.pyc$", name)} == set()


def test_the_wheel_has_no_sources_of_compiled_modules_and_strips_these(sdist, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(sdist, tree)
    for source in (tree / "fastlog").rglob("*.pyx"):
        if source != tree / f"{COMPILED}.pyx":
            source.unlink()
    expected = {
        name
        for name in files_below(tree)
        if name.startswith("fastlog/") and (name.endswith((".py", ".pyi", "/py.typed")) or "/page/" in name)
    }
    with zipfile.ZipFile(build(tree, "wheel")) as wheel:
        wheel.extractall(tmp_path / "wheel")
    packed = {name for name in files_below(tmp_path / "wheel") if ".dist-info/" not in name}
    (library,) = packed - expected
    assert library.startswith(f"{COMPILED}.")
    assert library.endswith(".so")
    assert expected - packed == set()
    assert b".symtab" not in (tmp_path / "wheel" / library).read_bytes()


@pytest.mark.parametrize(
    "environment", [{"CC": "no-compiler -pipe"}, {"FASTLOG_PURE": "1"}], ids=["no compiler", "pure"]
)
def test_without_a_compiler_the_client_is_installed_alone(sdist, tmp_path, environment):
    shutil.copytree(sdist, tmp_path / "tree")
    built = build(tmp_path / "tree", "wheel", **environment)
    assert built.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(built) as wheel:
        assert [name for name in wheel.namelist() if name.endswith((".so", ".c", ".pyx"))] == []
        wheel.extractall(tmp_path / "installed")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        installed = BASE_ENVIRONMENT | {"PYTHONPATH": str(tmp_path / "installed")}
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=False)

    program = "import fastlog; client = fastlog.Client(); print(client.stats().implementation, fastlog.__file__)"
    assert run("-c", program).stdout.split() == ["python", str(tmp_path / "installed" / "fastlog" / "__init__.py")]
    served = run("-m", "fastlog", "serve")
    assert served.returncode == 1
    assert served.stderr.count("\n") == 1
    assert "apt install gcc" in served.stderr


def test_each_cython_file_becomes_a_module_and_every_core_compiles(sdist):
    program = """
import setuptools
def setup(cmdclass, ext_modules):
    print(cmdclass["build_ext"](setuptools.Distribution()).parallel)
    print(*(path for module in ext_modules for path in module.sources))
setuptools.setup = setup
exec(compile(open("setup.py").read(), "setup.py", "exec"), {"__name__": "__main__", "__file__": "setup.py"})
"""
    command = [sys.executable, "-c", program]
    shown = subprocess.run(command, cwd=sdist, env=BASE_ENVIRONMENT, check=True, capture_output=True, text=True).stdout
    cores, sources = shown.splitlines()
    assert int(cores) == len(os.sched_getaffinity(0))
    assert set(sources.split()) == {str(path.relative_to(sdist)) for path in (sdist / "fastlog").rglob("*.pyx")}
