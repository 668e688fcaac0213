"""The numbers that two parts share are equal in both, in Python and in C."""

from fastlog import limits
from fastlog.archive import _summary
from fastlog.archive.index import FRAME_BYTES
from fastlog.client import _outbox
from fastlog.loadtest import _sender
from fastlog.server import _drain, _ledger, _lines, _socket


def test_sender_and_ledger_agree_on_the_window_of_sequences():
    assert _ledger.WINDOW == limits.SEQUENCE_WINDOW


def test_datagrams_are_as_long_as_udp_carries():
    assert limits.DATAGRAM_MAX_BYTES == 65_535 - 20 - 8
    assert _outbox.DATAGRAM_MAX_BYTES == limits.DATAGRAM_MAX_BYTES


def test_the_longest_line_is_the_same_for_the_server_and_for_readers_of_the_log():
    assert _lines.LINE_MAX_BYTES == _summary.LINE_MAX_BYTES == limits.LINE_MAX_BYTES


def test_the_longest_line_fits_into_a_frame_of_an_archive():
    assert FRAME_BYTES > limits.LINE_MAX_BYTES + 1  # with its line feed


def test_the_overhead_of_a_datagram():
    assert _drain.DATAGRAM_OVERHEAD_BYTES == limits.OVERHEAD_TYPICAL_BYTES
    assert limits.OVERHEAD_LEAST_BYTES <= limits.OVERHEAD_TYPICAL_BYTES <= limits.OVERHEAD_MOST_BYTES


def test_everybody_has_room_for_the_longest_ack():
    assert len(b'{"ack":true,"sequence":%d}' % (2**64 - 1)) == limits.ACK_MAX_BYTES
    assert _socket.ACK_ROOM_BYTES > limits.ACK_MAX_BYTES  # with a NUL
    assert _sender.ACK_ROOM_BYTES >= limits.ACK_MAX_BYTES


def test_the_load_test_retransmits_when_the_client_does():
    assert _sender.FIRST_TIMEOUT_MS == limits.FIRST_TIMEOUT_SEC * 1000
    assert _sender.LONGEST_TIMEOUT_MS == limits.LONGEST_TIMEOUT_SEC * 1000
    assert _sender.JITTER_PERMILLE == limits.TIMEOUT_JITTER * 1000
