"""`fastlog serve` from the socket to the file: what it stores, rejects and acknowledges, also when it ends."""

import base64
import json
import os
import re
import resource
import select
import signal
import socket
import struct

import pytest

from tests.helpers.entries import ERROR_7, INFO, entries, lines
from tests.helpers.running import PATIENCE_SEC, Server, eventually, run_fastlog, until


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_entries_are_stored_byte_for_byte_in_their_order(start, host):
    server = start(host=host)
    sent = entries(20_000)
    server.send(sent)
    assert server.stop() == 0
    assert server.log() == lines(sent)
    assert (
        "received 20000 entries in 20000 datagrams, stored 20000, duplicates 0, lost to the disk 0, rejected 0"
        in server.account
    )


def test_a_dual_stack_server_takes_ipv4_too(start):
    server = start(host="::")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_SEC)
        client.sendto(ERROR_7, ("127.0.0.1", server.port))
        assert client.recv(100) == b'{"ack":true,"sequence":7}'
        client.sendto(b"bad", ("127.0.0.1", server.port))
        port = client.getsockname()[1]
    server.stop()
    assert server.rejects()[0]["source"] == f"127.0.0.1:{port}"


def test_no_entry_is_lost_repeated_or_split_by_rotations(start, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.1", LOG_BACKUPS="100", FLUSH_COUNT="1000")
    sent = [entry for number, entry in enumerate(entries(30_000)) if number % 50] + entries(100, "ERROR")
    server.send(sent)
    server.stop()
    assert server.whole_log() == lines(sent)
    sizes = [path.stat().st_size for path in tmp_path.glob("server.log*")]
    assert len(sizes) > 15
    assert max(sizes) <= 100_000
    assert all(path.read_bytes().endswith(b"}\n") for path in tmp_path.glob("server.log*"))


def test_only_so_many_archives_are_kept(start, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.01", LOG_BACKUPS="3")
    sent = entries(2_000)
    server.send(sent)
    server.stop()
    assert sorted(path.name for path in tmp_path.glob("server.log*")) == [
        f"server.log{s}" for s in ("", ".1", ".2", ".3")
    ]
    assert lines(sent).endswith(server.whole_log())


def test_no_archive_is_kept_if_none_is_wanted(start, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.01", LOG_BACKUPS="0")
    server.send(entries(2_000))
    server.stop()
    assert [path.name for path in tmp_path.glob("server.log*")] == ["server.log"]


def test_a_line_longer_than_the_limit_has_a_file_of_its_own(start):
    server = start(MAX_LOG_SIZE_MB="0.001")
    sent = [INFO, b'{"level":"INFO","message":"%b"}' % (b"x" * 3000), INFO]
    server.send(sent)
    server.stop()
    assert server.whole_log() == lines(sent)


UDP_SEGMENT = 103  # of linux/udp.h


def coalesced(server, parts, size):
    """Sends datagrams of `size` bytes, the last one of any size up to it, in one call, which the kernel leaves together."""
    with server.client() as client:
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        client.send(b"".join(parts))


def test_datagrams_that_come_coalesced_are_taken_each_by_itself(start):
    server = start(BUFFER_SIZE="80")
    good = [b'{"level":"INFO","message":"%b","sequence":%d}' % (b"m" * 20, number) for number in range(10, 30)]
    size = len(good[0])
    cut_off = good[0][:-1] + b" "  # ends where the next one begins
    coalesced(server, [*good[:5], cut_off, *good[6:], b"last"], size)
    server.stop()
    assert server.whole_log() == lines([*good[:5], *good[6:]])
    assert "received 19 entries in 21 datagrams, stored 19" in server.account
    assert "rejected 2 {'syntax': 2}" in server.account
    assert [reject["offset"] for reject in server.rejects()] == [0, 0]


def test_coalesced_datagrams_past_the_buffer_size_are_truncated_each(start):
    server = start(BUFFER_SIZE="80")
    long = b'{"level":"INFO","message":"%b"}' % (b"x" * 60)
    coalesced(server, [long, long, INFO.ljust(len(long))], len(long))
    coalesced(server, [INFO, INFO], len(INFO))
    server.stop()
    assert server.whole_log() == lines([INFO, INFO])
    assert "rejected 3 {'truncated': 3}" in server.account


def test_every_reject_is_noted_with_its_sender_reason_offset_and_bytes(start):
    server = start(BUFFER_SIZE="1000")
    bad = {
        "empty": b"",
        "truncated": b'{"level":"INFO","message":"%b"}' % (b"x" * 1000),
        "syntax": b'{"level":"INFO",}',
        "utf8": b'{"level":"INFO","message":"\xff"}',
        "depth": b'{"x":' + b"[" * 64 + b"]" * 64 + b"}",
        "not_object": b"[1]",
        "level": b'{"message":"m"}',
        "message": b'{"level":"INFO"}',
        "sequence": b'{"level":"INFO","message":"m","sequence":-1}',
        "field": b'{"level":"INFO","message":"m","app":7}',
    }
    with server.client() as client:
        source = f"127.0.0.1:{client.getsockname()[1]}"
        for datagram in bad.values():
            client.send(INFO)
            client.send(datagram)
        client.send(INFO)
        client.send(INFO + b"\n" + bad["syntax"] + b"\n" + INFO)
    server.stop()
    assert server.log() == lines([INFO] * (len(bad) + 3))
    assert (
        "rejected 11 {'empty': 1, 'truncated': 1, 'syntax': 2, 'utf8': 1, 'depth': 1, 'not_object': 1, "
        in server.account
    )

    notes = server.rejects()
    assert [(note["reason"], note["offset"], note["source"]) for note in notes] == [
        *((reason, 0, source) for reason in bad),
        ("syntax", len(INFO) + 1, source),
    ]
    for note, datagram in zip(notes, [*bad.values(), bad["syntax"]], strict=True):
        kept = base64.b64decode(note["base64"]) if "base64" in note else note["text"].encode()
        assert kept == datagram[:1000]


@pytest.mark.parametrize(
    ("allowed", "host", "stored"),
    [
        ("127.0.0.0/8", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.2/32, 192.0.2.0/24", "127.0.0.1", False),
        ("::1", "127.0.0.1", False),
        ("2001:db8::/32,::1/128", "::1", True),
        ("::/1", "::1", True),
        ("8000::/1", "::1", False),
        ("127.0.0.0/8", "::1", False),
        ("0.0.0.0/0", "127.0.0.1", True),
        ("0.0.0.0/0", "::1", False),
    ],
)
def test_only_the_networks_allowed_may_send(start, allowed, host, stored):
    server = start(host=host, ALLOW_FROM=allowed)
    server.send([INFO, b"bad", ERROR_7])
    server.stop()
    assert server.log() == (lines([INFO, ERROR_7]) if stored else b"")
    assert len(server.rejects()) == (1 if stored else 0)
    assert server.account.endswith("acknowledged 1" if stored else "acknowledged 0")
    if not stored:
        assert "rejected 3 {'denied': 3}" in server.account


def test_ipv4_senders_of_a_dual_stack_server_are_admitted_by_their_ipv4_network(start):
    for allowed, stored in (("127.0.0.0/8", 1), ("10.0.0.0/8", 0)):
        server = start(host="::", ALLOW_FROM=allowed)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(INFO, ("127.0.0.1", server.port))
        server.stop()
        assert f"stored {stored}, " in server.account


@pytest.mark.skipif(os.geteuid() != 0, reason="a sender's address can be chosen by root only")
def test_two_servers_pointed_at_each_other_stay_silent(start, tmp_path, closing):
    """An ACK is not an entry, and only entries are answered."""
    one = start()
    (tmp_path / "other").mkdir()
    other = closing(Server(tmp_path / "other"))
    for ack in (b'{"ack":true,"sequence":7}', b"x", b"", b'{"level":"ERROR","message":"m"}'):
        send_from(one.port, other.port, ack)
    one.stop()
    other.stop()
    assert "received 1 entries in 4 datagrams" in other.account
    assert "received 0 entries in 0 datagrams" in one.account
    assert other.account.endswith("acknowledged 0")


def send_from(source: int, target: int, datagram: bytes) -> None:
    """Sends with another socket's address as the sender's."""
    header = struct.pack("!HHHH", source, target, 8 + len(datagram), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        raw.sendto(header + datagram, ("127.0.0.1", 0))


def test_the_rejects_file_keeps_the_newest_under_its_cap(start, tmp_path):
    server = start(REJECTS_MAX_MB="0.05")
    server.send(b"bad %d" % number for number in range(3_000))
    server.stop()
    assert "rejected 3000 " in server.account
    files = [tmp_path / "rejects.jsonl.1", tmp_path / "rejects.jsonl"]
    assert sum(path.stat().st_size for path in files) <= 50_000
    texts = [json.loads(line)["text"] for path in files for line in path.read_text().splitlines()]
    assert texts == [f"bad {number}" for number in range(3_000 - len(texts), 3_000)]


def test_a_reject_too_large_for_its_file_is_counted_as_not_noted(start):
    server = start(REJECTS_MAX_MB="0.0001")
    server.send([b"{" * 100])
    stats = eventually(server.stats, lambda stats: sum(stats["rejected"].values()) == 1)
    assert stats["disk"]["rejects_not_noted"] == 1
    assert server.rejects() == []


def test_no_rejects_file_if_none_is_wanted(start, tmp_path):
    server = start(REJECTS_MAX_MB="0")
    server.send([b"bad", INFO])
    server.stop()
    assert "rejected 1 {'syntax': 1}" in server.account
    assert not (tmp_path / "rejects.jsonl").exists()


def test_an_error_is_in_the_file_when_it_is_acknowledged_and_nothing_else_is_answered(start):
    server = start()
    other = b'{"level":"custom","message":"m","sequence":8}'
    with server.client() as client:
        for datagram in [
            INFO,
            other,
            b"bad",
            b'{"ack":true,"sequence":9}',
            b'{"level":"ERROR","message":"no sequence"}',
        ]:
            client.send(datagram)
        client.send(ERROR_7)
        assert client.recv(100) == b'{"ack":true,"sequence":7}'
        assert server.log().endswith(ERROR_7 + b"\n")
        assert server.log().count(b"\n") == 4  # the entries before it were written with it, in order
        client.send(b'{"level":"critical","message":"","sequence":18446744073709551615}')
        assert client.recv(100) == b'{"ack":true,"sequence":18446744073709551615}'
        server.stop()
        assert not select.select([client], [], [], 0)[0]


def test_entries_of_one_datagram_are_acknowledged_one_by_one(start):
    server = start()
    datagram = b"\n".join(b'{"level":"FATAL","message":"m","sequence":%d}' % number for number in range(100))
    with server.client() as client:
        client.send(datagram)
        acks = [client.recv(100) for _ in range(100)]
    assert acks == [b'{"ack":true,"sequence":%d}' % number for number in range(100)]


@pytest.mark.parametrize("sync", ["durable", "written"])
def test_more_errors_than_can_be_owed_an_ack_at_once_come_in_one_burst(start, sync):
    server = start(PRIORITY_SYNC=sync, FLUSH_COUNT="1000000")
    sent = [b'{"level":"ERR","message":"","sequence":%d}' % number for number in range(5_000)]
    with server.stopped():
        server.send([b"".join(sent[start : start + 1000]) for start in range(0, len(sent), 1000)])
    server.stop()
    assert server.log() == lines(sent)
    assert server.account.endswith("acknowledged 5000")


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_a_retransmission_is_stored_once_and_acknowledged_each_time_also_after_a_restart(start, tmp_path, compress):
    settings = {"MAX_LOG_SIZE_MB": "0.001", "LOG_COMPRESS": compress}
    entry = b'{"level":"ERROR","message":"m","sequence":7,"timestamp":"2026-11-24T07:00:00.000000Z"}'
    ack = b'{"ack":true,"sequence":7}'
    server = start(**settings)
    with server.client() as client:
        for _ in range(3):
            client.send(entry)
            assert client.recv(100) == ack
        for other in entries(50):  # over some rotations
            client.send(other)
    if compress == "zstd":
        until(lambda: not list(tmp_path.glob("server.log.?")) and list(tmp_path.glob("*.zst")), "compressed archives")
    server.stop()
    assert "received 53 entries in 53 datagrams, stored 51, duplicates 2," in server.account
    again = start(**settings)
    with again.client() as client:
        client.send(entry)
        assert client.recv(100) == ack
    again.stop()
    assert again.whole_log().count(entry) == 1


def test_priority_levels_are_a_setting(start):
    server = start(PRIORITY_LEVELS="warn,OTHER")
    with server.client() as client:
        client.send(ERROR_7)
        client.send(b'{"level":"warning","message":"m","sequence":1}')
        client.send(b'{"level":"audit","message":"m","sequence":2}')
        assert [client.recv(100), client.recv(100)] == [b'{"ack":true,"sequence":1}', b'{"ack":true,"sequence":2}']


def test_a_flush_comes_with_the_count(start, follow, tmp_path):
    server = start(FLUSH_COUNT="5", FLUSH_TIMEOUT_SEC="3600")
    log = follow(tmp_path / "server.log")
    server.send([INFO] * 5)
    assert [log.line() for _ in range(5)] == [INFO + b"\n"] * 5


def test_a_flush_comes_with_the_time(start, follow, tmp_path):
    server = start(FLUSH_COUNT="1000000", FLUSH_TIMEOUT_SEC="0.05")
    log = follow(tmp_path / "server.log")
    server.send([INFO])
    assert log.line() == INFO + b"\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_the_kernel_holds_when_the_end_comes_is_stored_and_acknowledged(start, number):
    server = start(FLUSH_TIMEOUT_SEC="3600")
    sent = [*entries(200), ERROR_7]
    with server.client() as client:
        server.signal(signal.SIGSTOP)
        for datagram in sent:
            client.send(datagram)
        server.signal(number)
        server.signal(signal.SIGCONT)
        assert server.wait() == 0
        assert client.recv(100) == b'{"ack":true,"sequence":7}'
    assert server.log() == lines(sent)


def test_a_file_at_the_largest_size_allowed_is_rotated(start):
    """The kernel cuts the write that reaches the limit short."""
    server = start(FLUSH_COUNT="10", LOG_BACKUPS="100")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    sent = entries(1_000)
    server.send(sent)
    assert server.stop() == 0
    assert server.whole_log() == lines(sent)
    assert "stored 1000, duplicates 0, lost to the disk 0" in server.account


def test_a_full_disk_acknowledges_nothing_and_counts_what_it_lost(start):
    server = start(REJECTS_MAX_MB="0")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
    with server.client() as client:
        client.send(ERROR_7)
        server.wait_for_message("cannot write")
        assert server.stop() == 1
        assert not select.select([client], [], [], 0)[0]
    assert server.log() == b""
    assert "received 1 entries in 1 datagrams, stored 0, duplicates 0, lost to the disk 1" in server.account
    assert server.account.endswith("acknowledged 0")


def test_an_unfinished_last_line_is_cut_off_and_kept(start, tmp_path):
    (tmp_path / "server.log").write_bytes(INFO + b"\n" + INFO[:9])
    server = start()
    path = tmp_path / "server.log"
    assert server.messages[0] == f"fastlog: {path} ended in an incomplete line; moved 9 bytes to {path}.torn"
    server.send([INFO])
    server.stop()
    assert server.log() == lines([INFO, INFO])
    assert (tmp_path / "server.log.torn").read_bytes() == INFO[:9] + b"\n"


def test_a_log_that_another_program_truncated_is_continued_and_loses_nothing_more(start, tmp_path):
    server = start()
    server.send(entries(100))
    with server.client() as client:
        client.send(ERROR_7)
        client.recv(100)
        os.truncate(tmp_path / "server.log", 0)  # as `> server.log` does, and logrotate's copytruncate
        client.send(INFO * 10)
        client.send(ERROR_7.replace(b"7,", b"8,"))
        client.recv(100)
    server.stop()
    assert server.log() == lines([INFO] * 10 + [ERROR_7.replace(b"7,", b"8,")])


def test_a_group_over_very_many_rotations_is_acknowledged(start, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.001", LOG_BACKUPS="1000")
    sent = [b'{"level":"ERROR","message":"%b","sequence":%d}' % (b"x" * 400, n) for n in range(1_000)]
    with server.client() as client:
        with server.stopped():
            for number in range(0, len(sent), 100):
                client.send(b"".join(sent[number : number + 100]))
        for _ in range(200):
            client.recv(100)
    assert server.stop() == 0
    assert server.account.endswith("acknowledged 1000")
    assert server.whole_log() == lines(sent)


def test_no_recent_errors_if_none_are_wanted(start):
    server = start(MAX_ERRORS="0")
    with server.client() as client:
        client.send(ERROR_7)
        assert client.recv(100) == b'{"ack":true,"sequence":7}'
    assert server.stop() == 0


def test_nobody_reading_its_messages_does_not_end_the_server(start, tmp_path):
    server = start()
    server.process.stderr.close()
    server.signal(signal.SIGHUP)  # which it answers with a message
    with server.client() as client:
        client.send(ERROR_7)
        assert client.recv(100) == b'{"ack":true,"sequence":7}'
    server.signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE_SEC) == 0
    assert server.log() == lines([ERROR_7])


def test_sighup_continues_in_a_new_file_of_the_same_name(start, tmp_path):
    server = start(FLUSH_COUNT="1000000")
    with server.client() as client:
        client.send(INFO)
        client.send(ERROR_7)
        client.recv(100)
        (tmp_path / "server.log").rename(tmp_path / "moved")
        server.signal(signal.SIGHUP)
        server.wait_for_message("SIGHUP: log file reopened")
        client.send(ERROR_7.replace(b"7,", b"8,"))
        client.recv(100)
    server.stop()
    assert (tmp_path / "moved").read_bytes() == lines([INFO, ERROR_7])
    assert server.log() == lines([ERROR_7.replace(b"7,", b"8,")])


def test_a_port_in_use_ends_the_start(start, tmp_path):
    server = start()
    other = tmp_path / "other"
    other.mkdir()
    done = run_fastlog("serve", "--host", "127.0.0.1", "--port", str(server.port), "--dashboard-port", "0", cwd=other)
    assert done.returncode == 1
    assert done.stderr == (
        f"fastlog: cannot listen on 127.0.0.1 port {server.port}/udp: Address already in use; "
        "set SERVER_HOST and SERVER_PORT\n"
    )


def test_a_log_file_in_use_ends_the_start(start, tmp_path):
    start()
    done = run_fastlog("serve", "--port", "0", "--log-dir", ".", cwd=tmp_path)
    assert done.returncode == 1
    assert (
        f"fastlog: {tmp_path}/server.log is in use by another fastlog; stop it, or set LOG_DIR or LOG_FILENAME\n"
        in done.stderr
    )


def test_a_receive_buffer_that_is_not_granted_is_reported_with_the_fix(start):
    """No system grants all of it: the kernel keeps twice this size in an int."""
    message = start(RCVBUF_SIZE="1073741824").messages[0]
    assert re.fullmatch(
        r"fastlog: receive buffer is \d+ bytes, not the 1073741824 asked for: the kernel may drop bursts. "
        r"To raise the limit: sysctl -w net.core.rmem_max=1073741824",
        message,
    )


def test_a_receive_buffer_that_is_granted_is_reported(start):
    assert start(RCVBUF_SIZE="100000").messages[0] == "fastlog: receive buffer is 100000 bytes; 100000 were asked for"
