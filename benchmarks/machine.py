"""Describes the machine on which something was measured."""

import os
import platform
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.peers import collectors
from fastlog import __version__


def facts(folder: Path | None, systems: list[str]) -> dict[str, str]:
    """`folder`: where the collectors write. `systems`: collectors whose versions are wanted."""
    target = str(folder or tempfile.gettempdir())
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    known = {
        "processor": f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{int(memory[1]) / 1e6:.0f} GB" if memory else "unknown",
        "system": f"Linux {platform.release()}, {_release()}",
        "file system of the logs": _output(["df", "--output=fstype", target]).splitlines()[-1],
        "net.core.rmem_max": Path("/proc/sys/net/core/rmem_max").read_text().strip(),
        "Python": platform.python_version(),
        "C compiler": _output([os.environ.get("CC", "cc"), "--version"]).splitlines()[0],
        "fastlog": __version__,
    }
    return {**known, **collectors.versions(systems)}


def describe(facts: dict[str, str]) -> str:
    return "".join(f"- {name}: {value}\n" for name, value in facts.items())


def _release() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "an unknown distribution"


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
