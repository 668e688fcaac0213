"""For the tests of programs that log through fastlog: `docs/testing.md` has examples. In reading order:

- `entry_log.py`: entries that came, and what tests ask of them
- `collector.py`: a server in the test's own process, which can also be away, silent, lossy or hostile
- `capture.py`: what clients and handlers of this process log, without any network
- `fixtures.py`: both as fixtures of pytest; nothing else here needs pytest
"""

from fastlog.testing.capture import capture_entries
from fastlog.testing.collector import Collector, Rejected
from fastlog.testing.entry_log import EntryLog

__all__ = ["Collector", "EntryLog", "Rejected", "capture_entries"]
