"""Runs tests/unit on each Python from 3.11 on that this machine has: see wheels/pythons.py.

Each Python has a virtual environment in build/pythons/, and fastlog is compiled for it in the tree. With CI=true, only
the oldest and the newest Python are used, and of these not the one that runs this file: `make test` has used it.
"""

import os
import subprocess
import sys
from pathlib import Path

from wheels.pythons import ROOT, find_pythons

UV = Path(sys.executable).with_name("uv")  # where `make pythons` was run
ENVIRONMENTS = ROOT / "build" / "pythons"


def has_pip(path: str) -> bool:
    return subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode == 0


def run_tests(minor: int, path: str) -> bool:
    environment = ENVIRONMENTS / f"3.{minor}"
    python = str(environment / "bin" / "python")
    if has_pip(path):
        commands = [
            [path, "-m", "venv", str(environment)],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ".[unit]"],
        ]
    else:  # it was unpacked
        commands = [
            [str(UV), "venv", "--quiet", "--allow-existing", "--no-config", "--python", path, str(environment)],
            [str(UV), "pip", "install", "--quiet", "--python", python, "--editable", ".[unit]"],
        ]
    commands.append([python, "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", "tests/unit"])
    print(f"Python 3.{minor} ({path}):", flush=True)
    return all(subprocess.run(command, cwd=ROOT, check=False).returncode == 0 for command in commands)


def main() -> int:
    pythons = [python for python in find_pythons().items() if UV.exists() or has_pip(python[1])]
    if os.environ.get("CI") == "true":
        oldest_and_newest = {pythons[0], pythons[-1]}
        pythons = sorted(python for python in oldest_and_newest if python[0] != sys.version_info.minor)
    failed = [f"3.{minor}" for minor, path in pythons if not run_tests(minor, path)]
    if failed:
        print(f"tests/unit failed on Python {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
