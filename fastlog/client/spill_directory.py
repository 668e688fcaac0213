"""The directory of spill files: the files that programs have left there, how large all are, and whether it takes new
ones. A file is opened only when its replay comes, so thousands of them take no descriptors."""

import math
import os
from collections import deque
from collections.abc import Container

from fastlog.client.spill_file import ASIDE, ForeignFileError, SpillFile, found_files

LOOK_SEC = 60.0  # between two looks for files whose program has ended
LOOK_TROUBLE_SEC = 5.0  # the same while the directory or the disk refuses
OPENED_PER_CALL = 16  # before other work has its turn


class SpillDirectory:
    """Raises nothing: `problem` has what was wrong at the last look, or since. Times are those of time.monotonic."""

    def __init__(self, prefix: str) -> None:
        self.problem = ""
        self.look_at = -math.inf  # the time of the next look
        self.bytes = 0  # of all files: as of the last look, and with what this client has written and removed since
        self.aside_bytes = 0  # the same of the files set aside
        self.is_unsure = False  # there is a file that could not be used, until the next look
        self._prefix = prefix
        self._left: deque[str] = deque()  # paths of files that programs may have left, the oldest first
        self._told: set[str] = set()  # paths of which it was told that they are left alone

    @property
    def is_empty(self) -> bool:
        return self.look_at > -math.inf and not (self._left or self.is_unsure)

    @property
    def has_left(self) -> bool:
        """Whether `take_over` may find something."""
        return bool(self._left)

    def look(self, now: float, own: Container[str]) -> None:
        """`own` are the paths of files that this client has open."""
        directory = os.path.dirname(self._prefix)
        self.problem = ""
        self.is_unsure = False
        found = []
        try:
            found = sorted(found_files(self._prefix))
            if not os.access(directory, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                self.problem = f"cannot write to {self._prefix}: {directory} is not writable"
        except OSError as error:
            self.problem = f"cannot write to {self._prefix}: {error.strerror}"
        self.bytes = sum(file.size for file in found)
        self.aside_bytes = sum(file.size for file in found if file.path.endswith(ASIDE))
        self._left = deque(file.path for file in found if file.path not in own and not file.path.endswith(ASIDE))
        self._told &= {file.path for file in found}
        self.look_at = now + (LOOK_TROUBLE_SEC if self.problem else LOOK_SEC)

    def look_soon(self, now: float) -> None:
        """There was trouble."""
        self.look_at = min(self.look_at, now + LOOK_TROUBLE_SEC)

    def take_over(self) -> SpillFile | None:
        """The oldest file that a program has left; None if there is none, or the search has to continue later."""
        for _ in range(OPENED_PER_CALL):
            if not self._left:
                break
            path = self._left.popleft()
            try:
                file = SpillFile.take_over(path)
            except ForeignFileError as error:
                if path not in self._told:
                    self._told.add(path)
                    self.problem = f"{path} is left alone: {error}"
            except OSError as error:
                self.problem = f"cannot take over {path}: {error.strerror}"
                self.is_unsure = True
            else:
                if file:
                    return file
        return None

    def forget(self) -> None:
        """The next look finds everything anew."""
        self._left.clear()
        self.look_at = -math.inf
