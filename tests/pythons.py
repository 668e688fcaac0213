"""Runs tests/unit on each Python from 3.11 on that this machine has: on the PATH, or installed by pyenv.

Each Python has a virtual environment in build/pythons/, and fastlog is compiled for it in the tree. With CI=true, only
the oldest and the newest Python are used, and of these not the one that runs this file: `make test` has used it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / "build" / "pythons"
OLDEST_MINOR = 11
NEWEST_MINOR = 30  # the last name that is looked for on the PATH is python3.30


def find_pythons() -> dict[int, str]:
    """The path of each Python that can make virtual environments, by its minor version."""
    names = [f"python3.{minor}" for minor in range(OLDEST_MINOR, NEWEST_MINOR + 1)]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [sys.executable, *filter(None, map(shutil.which, names))]
    candidates += map(str, sorted(pyenv.glob("versions/3.*/bin/python3")))
    found: dict[int, str] = {}
    for path in candidates:
        program = "import sys, venv, ensurepip; print(sys.version_info.minor)"
        answer = subprocess.run([path, "-c", program], capture_output=True, text=True, check=False)
        # pyenv's python3.x on the PATH fails unless that version is selected.
        if answer.returncode == 0 and int(answer.stdout) >= OLDEST_MINOR:
            found.setdefault(int(answer.stdout), path)
    return dict(sorted(found.items()))


def run_tests(minor: int, path: str) -> bool:
    environment = ENVIRONMENTS / f"3.{minor}"
    python = str(environment / "bin" / "python")
    commands = [
        [path, "-m", "venv", str(environment)],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ".[unit]"],
        [python, "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", "tests/unit"],
    ]
    print(f"Python 3.{minor} ({path}):", flush=True)
    return all(subprocess.run(command, cwd=ROOT, check=False).returncode == 0 for command in commands)


def main() -> int:
    pythons = list(find_pythons().items())
    if os.environ.get("CI") == "true":
        oldest_and_newest = {pythons[0], pythons[-1]}
        pythons = sorted(python for python in oldest_and_newest if python[0] != sys.version_info.minor)
    failed = [f"3.{minor}" for minor, path in pythons if not run_tests(minor, path)]
    if failed:
        print(f"tests/unit failed on Python {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
