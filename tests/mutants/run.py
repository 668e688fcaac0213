"""Makes each mutant in a copy of the tree, and runs the tests against it: first the one that finds it, then those of
its part, then more. Prints the mutants that survive; the exit code is 1 if there are any.

Each processor has a copy of its own in build/mutants/, with a virtual environment that finds fastlog there. The working
tree is only read.
"""

import argparse
import contextlib
import functools
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from time import monotonic

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIES = ROOT / "build" / "mutants"
ORIGINAL = COPIES / "original"  # of the copies: the working tree may be edited meanwhile
LEFT_OUT = (".git", ".venv", "dist", "logs", "__pycache__", ".*_cache", ".hypothesis", ".benchmarks", "*.egg-info")
BUILT = ("lib.*", "temp.*")  # in build/: what tells setuptools that a module is up to date
MORE_TESTS = ("tests/unit", "tests/server", "tests/client")
TEST_SEC = 30  # a test that takes longer hangs, so the mutant is found
NARROW_SEC = 180  # all tests that are named with a mutant
MORE_SEC = 1800
NOT_RUN = (2, 3, 4, 5)  # pytest's exit codes if it could not load the tests


def copy_working_tree() -> None:
    """Makes ORIGINAL, with what was built."""
    shutil.rmtree(COPIES, ignore_errors=True)
    shutil.copytree(ROOT, ORIGINAL, ignore=shutil.ignore_patterns(*LEFT_OUT, "build"), symlinks=True)
    for built in (path for pattern in BUILT for path in (ROOT / "build").glob(pattern)):
        shutil.copytree(built, ORIGINAL / "build" / built.name)
    setup = ORIGINAL / "setup.py"
    setup.write_text(setup.read_text().replace("-O3", "-O0"))  # to optimise takes longer than the tests


@functools.cache
def place_of(test: str) -> str:
    """The test as pytest is told to run it."""
    [path] = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if f"def {test}(" in path.read_text()]
    return f"{path.relative_to(ROOT)}::{test}"


class Tree:
    """A copy of ORIGINAL."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.output = ""  # of the last tests
        self._run: subprocess.Popen[str] | None = None
        self._python = root / ".venv" / "bin" / "python"
        shutil.copytree(ORIGINAL, root, symlinks=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / ".venv")], check=True)
        # A path in such a file is searched, and its own .pth files are not read: so the working tree is not found.
        packages = sysconfig.get_path("purelib", vars={"base": str(root / ".venv")})
        (Path(packages) / "tree.pth").write_text(f"{root}\n{sysconfig.get_path('purelib')}\n")

    def change(self, mutant: Mutant) -> None:
        """Raises CalledProcessError if the mutant cannot be compiled."""
        path = self.root / mutant.path
        path.write_text(mutant.applied(path.read_text()))
        if path.suffix != ".py":
            self._build()

    def restore(self) -> None:
        """Everything is again as in ORIGINAL, times included, so that nothing is compiled again."""
        for folder in ("fastlog", "build"):
            for copy in (self.root / folder).rglob("*"):
                if copy.is_file() and "__pycache__" not in copy.parts:
                    self._restore(copy)

    def passes(self, tests: Sequence[str], seconds: float) -> bool:
        """Whether all of these tests pass; a run that takes longer does not. Raises ValueError if it cannot be run."""
        command = [str(self._python), "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        # A thread ends also a test that hangs in a system call.
        command += [f"--timeout={TEST_SEC}", "--timeout-method=thread"]
        self._run = subprocess.Popen(
            [*command, *tests],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            self.output, _ = self._run.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.end()
        if self._run.returncode in NOT_RUN:
            raise ValueError(self.output)
        return self._run.returncode == 0

    @property
    def failed(self) -> str:
        """The first of the last tests that failed."""
        found = re.search(r"^(?:FAILED|ERROR) \S+::(\w+)", self.output, re.MULTILINE)
        return found[1] if found else "a test that took too long"

    def end(self) -> None:
        """Ends the tests, and what those have started that were cut short."""
        if self._run:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._run.pid, signal.SIGKILL)
            self._run.wait()

    def _build(self) -> None:
        subprocess.run(
            [str(self._python), "setup.py", "build_ext", "--inplace"],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
        )

    def _restore(self, copy: Path) -> None:
        original = ORIGINAL / copy.relative_to(self.root)
        if not original.exists():
            copy.unlink()
            return
        now, before = copy.stat(), original.stat()
        if (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, before.st_size):
            shutil.copy2(original, copy)


def verdict(tree: Tree, mutant: Mutant, more_tests: Sequence[str]) -> str:
    """`killed`, or why not."""
    try:
        tree.change(mutant)
        if not tree.passes([place_of(mutant.found_by)], NARROW_SEC):
            return "killed"
        if not tree.passes(mutant.tests.split(), NARROW_SEC):
            return f"killed, but not by {mutant.found_by}: {tree.failed}"
        if more_tests and not tree.passes(more_tests, MORE_SEC):
            return f"killed, but only by {tree.failed}"
    except subprocess.CalledProcessError as error:
        return f"NOT COMPILED\n{error.stdout[-2000:]}{error.stderr[-2000:]}"
    except ValueError as error:
        return f"NOT RUN\n{str(error)[-2000:]}"
    else:
        return "SURVIVED"
    finally:
        tree.restore()


def judge(mutants: Sequence[Mutant], more_tests: Sequence[str], trees: Sequence[Tree]) -> dict[str, str]:
    """The verdict on each mutant, by its name. Prints them as they come."""
    free: queue.SimpleQueue[Tree] = queue.SimpleQueue()
    for tree in trees:
        free.put(tree)

    def judge_one(mutant: Mutant) -> tuple[str, float]:
        tree = free.get()
        began = monotonic()
        try:
            return verdict(tree, mutant, more_tests), monotonic() - began
        finally:
            free.put(tree)

    verdicts = {}
    pool = ThreadPoolExecutor(len(trees))
    try:
        waiting = {pool.submit(judge_one, mutant): mutant for mutant in mutants}
        for done in as_completed(waiting):
            mutant = waiting[done]
            verdicts[mutant.name], seconds = done.result()
            print(f"{seconds:6.1f} s  {mutant.name}: {verdicts[mutant.name]}", flush=True)
    finally:  # interrupted, perhaps
        pool.shutdown(wait=False, cancel_futures=True)
        for tree in trees:
            tree.end()
    return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their name or path; default: all")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="how many at once")
    parser.add_argument("--narrow", action="store_true", help="run only the tests that are named with a mutant")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = [
        mutant
        for mutant in MUTANTS
        if not options.words or any(word in f"{mutant.path} {mutant.name}" for word in options.words)
    ]
    tests = sorted({place_of(mutant.found_by) for mutant in chosen})
    print(f"{len(chosen)} mutants; first, the tests that find them, without any", flush=True)
    copy_working_tree()
    trees = [Tree(COPIES / str(number)) for number in range(min(options.jobs, len(chosen)))]
    if chosen and not trees[0].passes(["-n", str(options.jobs), *tests], MORE_SEC):
        print(trees[0].output, "These tests fail without a mutant.", sep="\n")
        return 2
    verdicts = judge(chosen, () if options.narrow else MORE_TESTS, trees)
    survivors = [name for name, verdict in verdicts.items() if not verdict.startswith("killed")]
    print(f"{len(verdicts) - len(survivors)} of {len(verdicts)} mutants were killed", *survivors, sep="\n  survived: ")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
