"""What an installation from source lacks is said in one line, with the packages of each distribution."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import build_needs
from tests.helpers.running import BASE_ENVIRONMENT
from wheels.build import ZLIB_FUNCTIONS
from wheels.pythons import NEWEST_MINOR, OLDEST_MINOR

ROOT = Path(__file__).parents[2]
BUILD_SEC = 100


def asks_for_packages(line: str, *packages: str) -> bool:
    named = [f"on {name}: {package}" for name, package in zip(("Debian", "Fedora", "Alpine"), packages, strict=True)]
    return all(name in line for name in named) and "\n" not in line.strip()


@pytest.fixture
def compiler_without(tmp_path):
    """Makes a compiler that has all headers but one."""

    def make(header: str) -> str:
        compiler = tmp_path / "cc"
        compiler.write_text(f'#!/bin/sh\ntext=$(cat)\ncase $text in *"<{header}>"*) exit 1;; esac\nexit 0\n')
        compiler.chmod(0o755)
        return str(compiler)

    return make


@pytest.mark.parametrize(
    ("header", "packages"),
    [
        ("stdio.h", ("apt install gcc libc6-dev", "dnf install gcc", "apk add gcc musl-dev")),
        ("linux/aio_abi.h", ("apt install linux-libc-dev", "dnf install kernel-headers", "apk add linux-headers")),
        ("zlib.h", ("apt install zlib1g-dev", "dnf install zlib-devel", "apk add zlib-dev")),
        ("Python.h", ("apt install python3-dev", "dnf install python3-devel", "apk add python3-dev")),
    ],
)
def test_a_missing_header_is_said_with_its_packages(monkeypatch, compiler_without, header, packages):
    monkeypatch.setenv("CC", compiler_without(header))
    said = build_needs.missing_to_compile()
    assert f"no {header}" in said
    assert asks_for_packages(said, *packages)


def test_a_missing_compiler_is_said_with_its_packages(monkeypatch):
    monkeypatch.setenv("CC", "no-compiler -pipe")
    said = build_needs.missing_to_compile()
    assert "no no-compiler;" in said
    assert asks_for_packages(said, "apt install gcc", "dnf install gcc", "apk add gcc")


def test_setup_says_it_before_anything_is_compiled(compiler_without, tmp_path):
    environment = {**BASE_ENVIRONMENT, "CC": compiler_without("zlib.h")}
    refused = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--build-temp", tmp_path, "--build-lib", tmp_path],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SEC,
        check=False,
    )
    assert refused.returncode != 0
    assert asks_for_packages(refused.stderr, "apt install zlib1g-dev", "dnf install zlib-devel", "apk add zlib-dev")


def test_make_says_it_if_no_package_index_is_reached(tmp_path):
    for source in ("pyproject.toml", "setup.py"):
        (tmp_path / source).touch()
    for folder in ("fastlog", "tests/helpers"):
        (tmp_path / folder).mkdir(parents=True)
    environment = {
        **{name: value for name, value in BASE_ENVIRONMENT.items() if not name.startswith("PIP_")},
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",  # the port of discard: nobody listens there
    }
    refused = subprocess.run(
        ["make", "--no-print-directory", f"--file={ROOT / 'Makefile'}", f"BIN={Path(sys.executable).parent}", "build"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SEC,
        check=False,
    )
    line, made = refused.stderr.splitlines()
    assert "reaches no package index" in line
    assert "PIP_INDEX_URL" in line
    assert made.startswith("make: ***")


def test_the_metadata_name_each_python_that_wheels_are_built_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: 3\.(\d+)", "\n".join(project["classifiers"]))
    assert [int(minor) for minor in named] == list(range(OLDEST_MINOR, NEWEST_MINOR + 1))
    assert project["requires-python"] == f">=3.{OLDEST_MINOR}"


def test_wheels_are_linked_with_every_function_of_zlib_that_is_called():
    declared = re.search(
        r'cdef extern from "zlib.h".*?(?=\n\S)', (ROOT / "fastlog/inputs/_unpack.pyx").read_text(), re.DOTALL
    )
    assert declared
    called = set(re.findall(r"\b(inflate\w*)\(", declared[0]))
    assert called  # inflateInit2 is a macro that calls inflateInit2_
    assert {f"{name}_" if name == "inflateInit2" else name for name in called} <= set(ZLIB_FUNCTIONS)
