"""What `fastlog ship` has from a real server of NATS, through its sink: each line once, whatever happens between."""

import contextlib
import signal
import socket
import threading

import pytest

from fastlog.errors import ConfigError
from fastlog.segments import Position
from fastlog.ship import nats as nats_sink
from fastlog.ship import nats_link
from fastlog.ship.nats import NatsSink
from fastlog.ship.nats_stream import captures
from fastlog.ship.sink import Batch, RefusedError, RivalError, TooLargeError, UnavailableError, WentBackError
from tests.helpers.certificates import make_certificates, needs_openssl
from tests.helpers.nats import NODE, STREAM, NatsCluster, NatsServer, needs_nats, publish, settings
from tests.helpers.nats_accounts import Accounts, needs_nkeys
from tests.helpers.running import eventually
from tests.helpers.tcp_proxy import TcpProxy, is_ack

pytestmark = needs_nats

LOG = "0123456789ab"
LINE = b'{"level":"ERROR","message":"%06d"}\n'
LINE_BYTES = len(LINE % 0)


def batch(first: int, count: int = 1, log: str = LOG, segment: int = 1) -> Batch:
    """Lines of a log from the line with this number on."""
    lines = b"".join(LINE % number for number in range(first, first + count))
    start = first * LINE_BYTES
    return Batch(lines, Position(log, segment, start), Position(log, segment, start + len(lines)), count)


def lines(count: int) -> bytes:
    return batch(0, count).lines


@pytest.fixture
def server(nats):
    return nats


@pytest.fixture
def sink_to(closing):
    """Makes a sink, and asks it where to continue."""

    def make(url: str, create: bool = False, **more) -> NatsSink:
        sink = closing(NatsSink(settings(f"{url}/{STREAM}", **more), NODE, create))
        sink.resume()
        return sink

    return make


@pytest.fixture
def proxied(server, closing, sink_to):
    """A proxy before the server, and a sink that goes through it."""

    def make(**more):
        proxy = closing(TcpProxy(server.port, **more))
        return proxy, sink_to(f"nats://127.0.0.1:{proxy.port}")

    return make


@pytest.fixture
def answer_sec(monkeypatch):
    """Changes how long a sink waits for an answer, for a while."""

    @contextlib.contextmanager
    def change(seconds):
        with monkeypatch.context() as patch:
            patch.setattr(nats_link, "ANSWER_SEC", seconds)
            yield

    return change


@contextlib.contextmanager
def cut_when_stored(server, proxy, messages):
    """Cuts the connections as soon as the stream has so many messages."""

    def cut():
        eventually(server.info, lambda info: info["state"]["messages"] == messages)
        proxy.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        yield
    finally:
        cutter.join()


def send_until_acknowledged(sink, wanted) -> list[str]:
    """As the shipper does; returns what hindered it."""
    problems = []

    def send():
        try:
            return sink.send(wanted)
        except UnavailableError as error:
            problems.append(str(error))
            return None

    eventually(send, lambda refused: refused == 0)
    return problems


def test_lines_are_stored_with_their_position_and_the_next_sink_goes_on_there(server, sink_to, closing):
    sink = sink_to(server.url)
    sink.send(batch(0, 2))
    sink.send(batch(2, 3))
    assert server.data() == lines(5)
    first, second = server.messages()
    assert first.headers["Nats-Msg-Id"] == f"{NODE}/{LOG}/1/0-{2 * LINE_BYTES}"
    assert first.headers["Nats-Expected-Stream"] == STREAM
    assert first.headers["Fastlog-Pos"] == f"{LOG}:1:{2 * LINE_BYTES}"
    assert first.headers["Fastlog-Lines"] == "2"
    assert second.headers["Nats-Expected-Last-Subject-Sequence"] == "1"
    another = closing(NatsSink(settings(f"{server.url}/{STREAM}"), NODE, False))
    assert another.resume() == batch(2, 3).last


def test_an_empty_stream_has_no_position(server, sink_to):
    assert sink_to(server.url).resume() is None


def test_a_lost_ack_within_the_dedupe_window(server, proxied):
    proxy, sink = proxied()
    sink.send(batch(0))
    proxy.hold()  # the message gets there, and its ACK does not come back
    with pytest.raises(UnavailableError, match=r"lost|closed|EOF"), cut_when_stored(server, proxy, 2):
        sink.send(batch(1))
    assert sink.send(batch(1)) == 0
    sink.send(batch(2))
    assert server.data() == lines(3)


def test_a_lost_ack_after_the_dedupe_window(server, proxied, answer_sec):
    server.edit_stream(duplicate_window=100_000_000)
    lose = [False]
    _, sink = proxied(loses=lambda message, number: lose[0] and is_ack(message))
    sink.send(batch(0))
    lose[0] = True
    with answer_sec(0.3), pytest.raises(UnavailableError, match="has not answered"):  # longer than the window
        sink.send(batch(1))
    lose[0] = False
    assert sink.send(batch(1)) == 0
    sink.send(batch(2))
    assert server.data() == lines(3)


def test_a_first_ack_that_is_lost_after_the_dedupe_window(server, proxied, answer_sec):
    server.edit_stream(duplicate_window=100_000_000)
    proxy, sink = proxied(loses=lambda message, number: is_ack(message) and proxy.lost == 0)
    with answer_sec(0.3), pytest.raises(UnavailableError):
        sink.send(batch(0))
    assert sink.send(batch(0)) == 0
    assert server.data() == lines(1)


def test_a_connection_that_does_not_answer_is_not_used_again(server, proxied, answer_sec):
    proxy, sink = proxied()
    sink.send(batch(0))
    proxy.stall()
    with answer_sec(0.2), pytest.raises(UnavailableError):
        sink.send(batch(1))
    assert sink.send(batch(1)) == 0
    assert server.data() == lines(2)


def test_an_ack_that_comes_late_is_not_taken_for_that_of_the_next_message(server, proxied, answer_sec):
    proxy, sink = proxied()
    sink.send(batch(0))
    proxy.hold()
    with answer_sec(0.2), pytest.raises(UnavailableError):
        sink.send(batch(1))
    proxy.release()
    sink.send(batch(1))
    sink.send(batch(2))
    assert server.data() == lines(3)


def test_a_server_that_is_killed_with_a_message_under_way(server, sink_to):
    sink = sink_to(server.url)
    sink.send(batch(0))
    server.pause()
    killer = threading.Timer(0.1, server.kill)
    killer.start()
    with pytest.raises(UnavailableError):
        sink.send(batch(1))
    killer.join()
    with pytest.raises(UnavailableError, match="is not there"):
        sink.send(batch(1))
    server.start()
    send_until_acknowledged(sink, batch(1))
    assert server.data() == lines(2)


def test_a_store_that_was_put_back_to_an_older_copy(server, sink_to, tmp_path):
    sink = sink_to(server.url)
    sink.send(batch(0))
    server.stop()
    server.copy_store(tmp_path / "copy")
    server.start()
    send_until_acknowledged(sink, batch(1, 4))
    server.stop()
    server.restore(tmp_path / "copy")
    server.start()
    with pytest.raises(WentBackError) as went_back:
        sink.send(batch(5))
    assert went_back.value.position == batch(0).last
    sink.send(batch(1, 5))
    assert server.data() == lines(6)


def test_a_loss_of_the_server_is_found_while_there_is_nothing_to_send(server, sink_to, tmp_path):
    sink = sink_to(server.url)
    sink.send(batch(0))
    server.stop()
    server.copy_store(tmp_path / "copy")
    server.start()
    send_until_acknowledged(sink, batch(1))
    sink.check()
    most = sink.max_bytes
    server.stop()

    def is_missed():
        try:
            sink.check()
        except UnavailableError:
            return True

    eventually(is_missed, bool)  # as soon as the end of the connection has got to us
    assert sink.max_bytes == most  # a longer line is refused for good, so this does not depend on a connection
    server.restore(tmp_path / "copy")
    server.start()
    with pytest.raises(WentBackError) as went_back:
        sink.check()
    assert went_back.value.position == batch(0).last
    sink.check()
    sink.send(batch(1))
    assert server.data() == lines(2)


@pytest.mark.parametrize("how", ["purged", "made anew"])
def test_an_emptied_stream(server, sink_to, how):
    sink = sink_to(server.url)
    sink.send(batch(0))
    if how == "purged":
        server.ask(f"STREAM.PURGE.{STREAM}")  # the server still knows the ids of what it has deleted
    else:
        server.ask(f"STREAM.DELETE.{STREAM}")
        server.make_stream()
    with pytest.raises(WentBackError) as went_back:
        sink.send(batch(1))
    assert went_back.value.position is None
    sink.send(batch(0))
    sink.send(batch(1))
    assert server.data() == lines(2)


def test_a_last_message_that_was_deleted_is_sent_again(server, sink_to):
    sink = sink_to(server.url)
    sink.send(batch(0))
    sink.send(batch(1))
    server.ask(f"STREAM.MSG.DELETE.{STREAM}", {"seq": 2})
    with pytest.raises(WentBackError) as went_back:
        sink.send(batch(2))
    assert went_back.value.position == batch(0).last
    sink.send(batch(1))  # with an id that the server knows as a duplicate
    sink.send(batch(2))
    assert server.data() == lines(3)


def test_a_stream_that_was_deleted_ends_the_shipper(server, sink_to, monkeypatch):
    sink = sink_to(server.url)
    sink.send(batch(0))
    server.ask(f"STREAM.DELETE.{STREAM}")
    with pytest.raises(UnavailableError, match="stream not found"):
        sink.send(batch(1))
    monkeypatch.setattr(nats_sink, "GONE_SEC", 0)
    with pytest.raises(RivalError, match="the stream LOGS was deleted"):
        sink.send(batch(1))


def test_limits_that_delete_the_last_message_of_a_quiet_node_do_no_harm(server, sink_to, capfd):
    server.edit_stream(max_msgs=2)
    sink = sink_to(server.url)
    sink.send(batch(0))
    for _ in range(2):
        publish(server.url, "fastlog.other", b"{}\n")
    sink.send(batch(1))
    assert server.data() == batch(1).lines
    assert "the limits of the stream LOGS have deleted the last message of fastlog.node" in capfd.readouterr().err


def test_the_second_of_two_shippers_ends(server, sink_to):
    one, two = sink_to(server.url), sink_to(server.url)
    one.send(batch(0))
    one.send(batch(1))
    with pytest.raises(WentBackError) as ahead:  # it might be what the run before had under way
        two.send(batch(0, 3))
    assert ahead.value.position == batch(1).last
    one.send(batch(2))
    with pytest.raises(RivalError, match=r"another shipper writes to fastlog\.node"):
        two.send(batch(2, 2))
    one.send(batch(3))
    assert server.data() == lines(4)


def test_two_shippers_that_send_other_lines_with_the_same_id_are_found(server, sink_to):
    one, two = sink_to(server.url), sink_to(server.url)
    one.send(batch(0))
    with pytest.raises(RivalError, match=r"another shipper writes to fastlog\.node"):  # as a copy of the log has it
        two.send(batch(0)._replace(lines=LINE % 7))
    assert server.data() == lines(1)


def test_two_shippers_that_send_the_same_lines_are_found(server, sink_to):
    one, two = sink_to(server.url), sink_to(server.url)
    one.send(batch(0))
    two.send(batch(0))  # the same message, with the same id
    two.send(batch(1))
    with pytest.raises(RivalError):
        one.send(batch(1))
    assert server.data() == lines(2)


def test_a_message_of_the_run_before_that_arrives_late(server, sink_to):
    sink = sink_to(server.url)
    sink_to(server.url).send(batch(0, 2))  # it was under way while the first sink asked
    with pytest.raises(WentBackError) as ahead:
        sink.send(batch(0, 3))
    assert ahead.value.position == batch(0, 2).last
    sink.send(batch(2))
    assert server.data() == lines(3)


def test_another_log_of_the_same_node_ends_the_shipper(server, sink_to):
    sink = sink_to(server.url)
    sink.send(batch(0))
    sink_to(server.url).send(batch(0, log="ba9876543210"))
    with pytest.raises(RivalError, match="ba9876543210:1:"):
        sink.send(batch(1))


def test_a_stranger_on_our_subject_ends_the_shipper(server, sink_to):
    sink = sink_to(server.url)
    sink.send(batch(0))
    publish(server.url, f"fastlog.{NODE}", b"hello")
    with pytest.raises(RivalError, match="is not of `fastlog ship`"):
        sink.send(batch(1))


# A cluster


@pytest.mark.parametrize("whom", ["leader", "follower"])
def test_a_server_of_a_cluster_that_is_killed(tmp_path, closing, sink_to, answer_sec, whom):
    cluster = closing(NatsCluster(tmp_path))
    cluster.make_stream()
    leader = cluster.leader()
    other = next(server for server in cluster.servers if server is not leader)
    sink = sink_to(other.url)  # the URL has one server only, which tells of the others
    sink.send(batch(0, 10))
    (leader if whom == "leader" else other).kill()
    with answer_sec(1):
        for number in range(10, 40):
            send_until_acknowledged(sink, batch(number))
    assert cluster.data() == lines(40)


def test_a_stream_that_is_made_in_a_cluster_has_three_replicas(tmp_path, closing, sink_to):
    cluster = closing(NatsCluster(tmp_path))

    def made():
        with contextlib.suppress(UnavailableError):  # the cluster has no leader yet
            return sink_to(cluster.url, create=True)

    sink = eventually(made, bool)
    sink.send(batch(0))
    report = dict(sink.report())
    assert report["replicas"].startswith("3, leader n")
    assert "warning" not in report


# Who may


def test_a_wrong_password_is_refused_at_the_start_and_waited_for_later(tmp_path, closing, sink_to):
    users = 'authorization { user: "log:ger", password: "%s" }'
    server = closing(NatsServer(tmp_path, users % "p@ss/w,rd", user="log%3Ager:p%40ss%2Fw%2Crd"))
    sink = sink_to(server.url, create=True)
    sink.send(batch(0))
    with pytest.raises(RefusedError, match="refuses the user, password, token or credentials") as refused:
        sink_to(f"nats://log%3Ager:wr0ng@127.0.0.1:{server.port}")
    assert "wr0ng" not in str(refused.value)
    server.stop()
    server.configure(users % "another")
    server.start()
    with pytest.raises(UnavailableError, match="refuses the user"):
        sink.send(batch(1))
    server.stop()
    server.configure(users % "p@ss/w,rd")
    server.start()
    send_until_acknowledged(sink, batch(1))
    assert server.data() == lines(2)


def test_a_token(tmp_path, closing, sink_to):
    server = closing(NatsServer(tmp_path, 'authorization { token: "s3cr3t" }', user="s3cr3t"))
    sink_to(server.url, create=True).send(batch(0))
    assert server.data() == lines(1)


@needs_nkeys
def test_a_credentials_file(tmp_path, closing, sink_to):
    accounts = Accounts()
    server = closing(NatsServer(tmp_path / "nats", accounts.config))
    (tmp_path / "log.creds").write_text(accounts.credentials)
    (tmp_path / "other.creds").write_text(Accounts().credentials)
    sink = sink_to(server.url, create=True, ship_credentials=str(tmp_path / "log.creds"))
    sink.send(batch(0))
    assert sink.resume() == batch(0).last
    for more in ({}, {"ship_credentials": str(tmp_path / "other.creds")}):
        with pytest.raises(RefusedError, match="refuses the user, password, token or credentials"):
            sink_to(server.url, **more)


@needs_nkeys
def test_a_credentials_file_with_a_broken_key(tmp_path, closing, sink_to):
    accounts = Accounts()
    server = closing(NatsServer(tmp_path / "nats", accounts.config))
    (tmp_path / "log.creds").write_text(accounts.credentials.replace("\nSU", "\nSUX"))
    with pytest.raises(RefusedError, match="cannot connect to NATS at"):
        sink_to(server.url, ship_credentials=str(tmp_path / "log.creds"))


@pytest.mark.parametrize("text", ["", "user:password\n", "-----BEGIN USER NKEY SEED-----\nSU\n", None])
def test_a_credentials_file_that_is_none(tmp_path, sink_to, text):
    path = tmp_path / "log.creds"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        ConfigError, match=r"SHIP_CREDENTIALS=.*log\.creds (is not a \.creds file|cannot be read: No such)"
    ):
        sink_to("nats://127.0.0.1", ship_credentials=str(path))


def test_a_subject_that_we_may_not_publish_to(tmp_path, closing, sink_to):
    users = """authorization { users: [
        { user: all, password: all },
        { user: few, password: few, permissions: { publish: ["$JS.API.>"], subscribe: ["_INBOX.>"] } }
    ] }"""
    server = closing(NatsServer(tmp_path, users, user="all:all"))
    server.make_stream()
    sink = sink_to(server.url.replace("all:all", "few:few"))
    with pytest.raises(UnavailableError, match=r'(?i)permissions violation for publish to "fastlog\.node"'):
        sink.send(batch(0))


def test_a_user_who_may_do_only_what_the_documents_say(tmp_path, closing, sink_to):
    users = """authorization { users: [
        { user: all, password: all },
        { user: few, password: few, permissions: {
            publish: ["fastlog.node", "$JS.API.STREAM.INFO.LOGS", "$JS.API.STREAM.MSG.GET.LOGS"]
            subscribe: ["_INBOX.>"]
        } }
    ] }"""
    server = closing(NatsServer(tmp_path, users, user="all:all"))
    server.make_stream()
    sink = sink_to(server.url.replace("all:all", "few:few"))
    sink.send(batch(0))
    assert sink.resume() == batch(0).last
    assert dict(sink.report())["subject"] == f"fastlog.{NODE}"


def test_an_account_and_a_server_without_jetstream(tmp_path, closing, sink_to):
    accounts = """accounts {
        A: { users: [{ user: a, password: a }] }
        B: { jetstream: enabled, users: [{ user: b, password: b }] }
    }"""
    server = closing(NatsServer(tmp_path / "accounts", accounts, user="a:a"))
    with pytest.raises(RefusedError, match="this account has no JetStream"):
        sink_to(server.url, create=True)
    plain = closing(NatsServer(tmp_path / "plain", jetstream=None))
    with pytest.raises(RefusedError, match="this server has no JetStream"):
        sink_to(plain.url, create=True)


# TLS


@pytest.fixture
def tls(tmp_path, closing):
    """A server with TLS, and the certificate of the authority that signed its own."""
    files = make_certificates(tmp_path)
    more = f'tls {{ cert_file: "{files.certificate}", key_file: "{files.key}" }}'
    return closing(NatsServer(tmp_path / "nats", more)), str(files.authority)


@needs_openssl
def test_tls_with_an_authority_of_our_own(tls, sink_to):
    server, authority = tls
    sink = sink_to(server.url.replace("nats:", "tls:"), create=True, ship_ca=authority)
    sink.send(batch(0, 10_000))
    assert sink.resume() == batch(0, 10_000).last


@needs_openssl
def test_a_certificate_that_is_not_trusted_is_refused(tls, sink_to):
    with pytest.raises(RefusedError, match=r"the certificate of NATS at .* is not trusted"):
        sink_to(tls[0].url.replace("nats:", "tls:"))


def test_no_password_goes_to_a_server_without_tls(closing, sink_to):
    taken = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):  # until the listener ends
            while True:
                client, _ = listener.accept()
                with client:
                    client.sendall(b'INFO {"max_payload":1048576,"headers":true,"tls_available":true}\r\n')
                    taken.append(client.recv(1000))

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(RefusedError, match="does not offer TLS"):
        sink_to(f"tls://user:secret@127.0.0.1:{listener.getsockname()[1]}")
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()
    assert taken
    assert b"".join(taken) == b""


# Streams


def test_a_stream_that_is_not_there_is_refused_or_made(tmp_path, closing, sink_to):
    server = closing(NatsServer(tmp_path))
    with pytest.raises(RefusedError, match="there is no stream LOGS; `fastlog ship --create` makes one"):
        sink_to(server.url)
    sink = sink_to(server.url, create=True)
    sink.send(batch(0))
    config = server.info()["config"]
    assert config["subjects"] == ["fastlog.>"]
    assert (config["storage"], config["discard"], config["num_replicas"]) == ("file", "new", 1)
    assert (config["max_age"], config["max_bytes"], config["max_msgs"]) == (0, -1, -1)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"subjects": ["other.>", "fastlog.*.b"]}, "does not take the subject fastlog.node"),
        ({"retention": "workqueue"}, "deletes what was consumed"),
        ({"retention": "interest"}, "deletes what was consumed"),
        ({"no_ack": True}, "acknowledges nothing"),
        (
            {"subject_delete_marker_ttl": 10**9, "allow_msg_ttl": True, "max_age": 10**12},
            "leaves markers for what it deletes",
        ),
    ],
)
def test_a_stream_that_cannot_hold_each_line_once_is_refused(tmp_path, closing, sink_to, config, why):
    server = closing(NatsServer(tmp_path))
    server.make_stream(**config)
    with pytest.raises(RefusedError, match=why):
        sink_to(server.url)


def test_subjects_of_a_stream():
    assert captures(["fastlog.>"], "fastlog.a")
    assert captures(["fastlog.>"], "fastlog.a.b")
    assert captures([">"], "fastlog.a")
    assert captures(["x", "fastlog.*"], "fastlog.a")
    assert captures(["*.a"], "fastlog.a")
    assert not captures(["fastlog.*"], "fastlog.a.b")
    assert not captures(["fastlog"], "fastlog.a")
    assert not captures(["fastlog.a.>"], "fastlog.a")
    assert not captures([], "fastlog.a")


def test_a_stream_is_not_made_for_subjects_of_another_one(server, sink_to):
    server.ask(f"STREAM.DELETE.{STREAM}")
    server.make_stream(name="OTHER")
    with pytest.raises(RefusedError, match=r"another stream has subjects of fastlog\.> already"):
        sink_to(server.url, create=True)


def test_a_subject_that_went_to_another_stream_is_refused(server, sink_to):
    sink = sink_to(server.url)
    sink.send(batch(0))
    server.edit_stream(subjects=["other.>"])
    with pytest.raises(UnavailableError, match=r"does not take the subject fastlog\.node"):
        sink.send(batch(1))
    server.make_stream(name="OTHER")
    with pytest.raises(RefusedError, match=r"fastlog\.node belongs to another stream than LOGS"):
        sink.send(batch(1))


def test_a_full_stream_is_waited_for(server, sink_to):
    server.edit_stream(discard="new", max_msgs=1)
    sink = sink_to(server.url)
    sink.send(batch(0))
    with pytest.raises(UnavailableError, match="maximum messages exceeded"):
        sink.send(batch(1))
    server.edit_stream(discard="new", max_msgs=2)
    sink.send(batch(1))
    assert server.data() == lines(2)


def test_a_batch_is_as_large_as_the_server_takes(tmp_path, closing, sink_to):
    server = closing(NatsServer(tmp_path, "max_payload: 10000"))
    sink = sink_to(server.url, create=True)
    most = sink.max_bytes // LINE_BYTES
    sink.send(batch(0, most))
    with pytest.raises(TooLargeError, match="takes at most"):
        sink.send(batch(most, most + 1))
    server.edit_stream(max_msg_size=5000)
    with pytest.raises(TooLargeError, match="message size exceeds maximum allowed"):
        sink.send(batch(most, most))
    fewer = sink.max_bytes // LINE_BYTES
    assert 0 < fewer < most
    sink.send(batch(most, fewer))
    assert server.data() == lines(most + fewer)


# The program


def test_what_check_prints(server, sink_to):
    server.edit_stream(max_age=3600 * 10**9, max_bytes=10**6)
    sink = sink_to(server.url)
    sink.send(batch(0))
    report = sink.report()
    values = dict(report)
    assert values["last position"] == f"{batch(0).last}, message 1"
    assert values["limits"] == "1,000,000 bytes, 60 minutes; discard old"
    assert values["dedupe window"] == "2 minutes"
    warnings = " ".join(text for name, text in report if name == "warning")
    assert "one replica" in warnings
    assert "quiet node" in warnings
    assert "fewer than SHIP_HOLD_MB (10,000,000,000)" in warnings


def test_a_sink_ends_at_once_while_it_waits_for_a_server_that_says_nothing(closing):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sink = closing(NatsSink(settings(f"nats://127.0.0.1:{listener.getsockname()[1]}/{STREAM}"), NODE, False))
        main = threading.main_thread().ident
        interrupt = threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGINT])
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            sink.resume()
        interrupt.join()
