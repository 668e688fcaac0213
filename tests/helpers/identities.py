"""The identities of a log's files."""

from pathlib import Path

from fastlog.segments import identity_of, is_of_log


def numbers(directory: Path) -> dict[str, int | None]:
    """The segment of each file, by its name without the live one's; every file belongs to one log."""
    found, logs = {}, set()
    for path in sorted(directory.glob("server.log*")):
        if is_of_log("server.log", path.name):
            identity = identity_of(path)
            found[path.name.removeprefix("server.log")] = identity and identity.segment
            logs |= {identity.log} if identity else set()
    assert len(logs) <= 1
    return found
