"""Programs of Debian's packages that `unpack.sh` has unpacked into build/debian, or that are installed."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

UNPACKED = Path(__file__).parents[2] / "build/debian"
JARS = {
    "liblog4j2-java": ["log4j-api.jar", "log4j-core.jar"],
    "liblogback-java": ["slf4j-api.jar", "logback-core.jar", "logback-classic.jar"],
}


@dataclass(frozen=True)
class Program:
    """`root`: the directory below which it was unpacked; None: it is installed. `environment`: variables that it needs
    to find its libraries."""

    path: str
    root: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def one(self, pattern: str) -> Path:
        """The path below the root that has the pattern."""
        assert self.root
        found = sorted(self.root.glob(pattern))
        if not found:
            raise SystemExit(f"{self.root} has no {pattern}; remove the directory, and unpack.sh unpacks it again")
        return found[0]


def find(name: str, package: str) -> Program | None:
    """The program that was unpacked, under that name or one with a version behind it, else the one that is installed;
    None: there is none."""
    root = UNPACKED / package
    for pattern in (name, f"{name}[0-9.]*"):
        for path in sorted(root.glob(f"usr/*bin/{pattern}")):
            return Program(str(path), root, _libraries(root))
    installed = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    return Program(installed) if installed else None


def jars(package: str) -> list[Path]:
    """The Java libraries that a program needs to log with the package; none if one is missing."""
    folders = [UNPACKED / package / "usr/share/java", Path("/usr/share/java")]
    found = [next((folder / name for folder in folders if (folder / name).exists()), None) for name in JARS[package]]
    return [path for path in found if path] if all(found) else []


def version(program: Program) -> str:
    """What rsyslogd or syslog-ng prints of itself."""
    flag = "-v" if Path(program.path).name == "rsyslogd" else "--version"
    environment = {**os.environ, **program.environment}
    return subprocess.run([program.path, flag], env=environment, capture_output=True, text=True, check=True).stdout


def configuration_version(program: Program) -> str:
    """The version that a configuration of this syslog-ng has to begin with."""
    found = re.search(r"Config version: (\S+)", version(program))
    if not found:
        raise SystemExit(f"{program.path} --version does not print the version of its configuration")
    return found[1]


def _libraries(root: Path) -> dict[str, str]:
    folders = [path for pattern in ("usr/lib/*", "lib/*", "usr/lib/syslog-ng/*") for path in root.glob(pattern)]
    return {"LD_LIBRARY_PATH": ":".join(str(path) for path in folders if path.is_dir())}
