"""The file of rejects, alone."""

import fcntl

import pytest

from fastlog.server.rejects import FILENAME, RejectsFile


def test_an_attempt_to_open_it_that_fails_leaves_no_descriptor(tmp_path, closing):
    """It is repeated for as long as it fails."""
    other = closing((tmp_path / FILENAME).open("wb"))
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        RejectsFile(tmp_path, 1000)
