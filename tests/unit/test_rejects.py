"""What of rejected input is noted, and the file of rejects, each alone."""

import errno
import fcntl
import socket
from time import monotonic

import pytest

from fastlog.limits import REJECTS_FILENAME
from fastlog.server._drain import Intake
from fastlog.server._rejects import RejectedInput
from fastlog.server._socket import Admission
from fastlog.server.loop import Loop
from fastlog.server.rejects import Rejects, RejectsFile
from fastlog.server.storage import Storage
from tests.helpers._hooks import noted


@pytest.fixture
def rejected() -> RejectedInput:
    return Intake(65536, ["ERROR"], Admission([])).rejects


def test_one_address_gets_three_quarters_of_the_notes(rejected):
    rejected.allow(100, 10_000)
    assert noted(rejected, ["192.0.2.1"] * 100, 10) == 75
    assert noted(rejected, [f"198.51.100.{n}" for n in range(100)], 10) == 25


def test_one_address_gets_three_quarters_of_the_bytes(rejected):
    rejected.allow(200, 1_000)
    assert noted(rejected, ["192.0.2.1"] * 100, 10) == 75
    assert noted(rejected, [f"198.51.100.{n}" for n in range(100)], 10) == 25


def test_all_addresses_of_an_ipv6_network_have_one_share(rejected):
    rejected.allow(100, 10_000)
    assert noted(rejected, [f"2001:db8::{n:x}" for n in range(1, 101)], 10) == 75
    assert noted(rejected, [f"2001:db8:0:{n:x}::1" for n in range(1, 101)], 10) == 25


def test_ipv4_addresses_have_shares_of_their_own(rejected):
    rejected.allow(100, 10_000)
    assert noted(rejected, [f"192.0.2.{n}" for n in range(100)], 10) == 100


def test_after_notes_that_the_disk_refused_none_is_made_in_the_same_second(tmp_path, closing, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    intake = Intake(65536, ["ERROR"], Admission([]))
    loop = closing(Loop())
    rejects = closing(Rejects(intake.rejects, tmp_path, 10_000, loop))
    monkeypatch.setattr(Storage, "write", refuse)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"garbage", sock.getsockname())
        intake.drain(sock.fileno())
    rejects.write(monotonic())
    assert rejects.not_noted == 1
    assert noted(intake.rejects, ["192.0.2.1"], 1) == 0
    loop._fire(monotonic() + 1.0)
    assert noted(intake.rejects, ["192.0.2.1"], 1) == 1


def test_an_attempt_to_open_it_that_fails_leaves_no_descriptor(tmp_path, closing):
    """It is repeated for as long as it fails."""
    other = closing((tmp_path / REJECTS_FILENAME).open("wb"))
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        RejectsFile(tmp_path, 1000)
