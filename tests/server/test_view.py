"""The live view and the recent lines: what viewers see, who may view, and that the server does not feel them."""

import json
import os
import resource
import signal

import pytest

from tests.helpers.running import TOKEN, eventually, get
from tests.helpers.viewing import Viewer, view_processes, wait_for_end


def entry(message: str, level: str = "ERROR", **fields: object) -> bytes:
    return json.dumps({"level": level, "message": message, **fields}).encode()


@pytest.fixture
def view(closing):
    """Opens a viewer of `/tap`."""
    return lambda server, headers=None, **query: closing(Viewer(server.dashboard_port, headers, **query))


def lines_of(server, query: str = "") -> dict:
    response = get(server.dashboard_port, f"/lines?{query}")
    assert response.status == 200, response.text
    return json.loads(response.text)


def messages_of(server, query: str = "") -> list[str]:
    return [line["message"] for line in lines_of(server, query)["lines"]]


def test_an_entry_is_seen_as_it_comes(start, view):
    server = start()
    viewer = view(server)
    assert viewer.state == {"waiting": False}
    server.send([entry("first", sequence=2**53 + 1)])
    event = viewer.next()
    assert event.data == {
        "lines": [{"level": "ERROR", "message": "first", "sequence": 2**53 + 1}], "shown": 1, "matching": 1
    }  # fmt: skip
    server.send([entry("second")])
    assert viewer.messages(1) == ["second"]


FILTERED = [
    ("level=ERROR", ["an error", "an alias"]),
    ("level=debug,WARN", ["a warning", "debugging"]),
    ("level=OTHER", ["other"]),
    ("app=shop", ["an error"]),
    ("host=web-1", ["a warning"]),
    ("text=AN%20", ["an error", "an alias"]),
    ("text=%22region%22%3A", []),
    ("text=region%3Deu", ["debugging"]),
    ("source=127.0.0.1", ["an error", "an alias", "other", "debugging"]),
    ("source=127.0.0.2", []),
    ("level=ERROR&app=shop&text=nothing", []),
]
SENT = [
    entry("an error", app="shop"),
    entry("an alias", "err"),
    entry("other", "strange"),
    entry("a warning", "WARNING", host="web-1"),
    entry("debugging", "DEBUG", region="eu"),
]


@pytest.mark.parametrize(("query", "expected"), FILTERED)
def test_lines_are_filtered(start, query, expected):
    server = start(STAMP="missing", FLUSH_COUNT="1")
    server.send(SENT)
    eventually(lambda: len(lines_of(server)["lines"]), lambda count: count == len(SENT))
    answer = lines_of(server, query)
    assert [line["message"] for line in answer["lines"]] == expected
    assert answer["complete"] is True


def test_views_with_different_filters_see_what_they_ask_for(start, view):
    server = start(STAMP="missing", FLUSH_COUNT="1")
    viewers = [(view(server, **dict([query.split("=")])), expected) for query, expected in FILTERED[:3]]
    (errors, _), *_ = viewers
    both = view(server, level="ERROR", app="shop")
    again = view(server, level="ERROR")
    server.send(SENT)
    for viewer, expected in [*viewers, (again, ["an error", "an alias"]), (both, ["an error"])]:
        assert viewer.messages(len(expected)) == expected
    server.send([entry("later")])
    assert errors.messages(1) == ["later"]


def test_the_whole_address_of_a_sender_is_a_filter_too(start):
    server = start(STAMP="always", FLUSH_COUNT="1")
    with server.client() as one, server.client() as other:
        server.send_from([(one, entry("of one")), (other, entry("of the other"))])
        eventually(lambda: len(lines_of(server)["lines"]), lambda count: count == 2)
        assert messages_of(server, f"source=127.0.0.1:{other.getsockname()[1]}") == ["of the other"]
    assert messages_of(server, "source=127.0.0.1") == ["of one", "of the other"]
    assert messages_of(server, "source=127.0.0") == []


def test_a_view_may_begin_with_lines_that_are_there(start, view):
    server = start(FLUSH_COUNT="1")
    server.send([entry(f"number {n}", "ERROR" if n % 2 else "INFO") for n in range(20)])
    eventually(lambda: len(lines_of(server)["lines"]), lambda count: count == 20)
    viewer = view(server, last=3, level="ERROR")
    assert viewer.messages(1) == ["number 15", "number 17", "number 19"]
    server.send([entry("number 20")])
    assert viewer.messages(1) == ["number 20"]


def test_a_viewer_that_comes_again_sees_each_line_once(start, view):
    server = start(MAX_LOG_SIZE_MB="0.001", LOG_BACKUPS="100")
    viewer = view(server)
    server.send([entry("seen")])
    assert viewer.messages(1) == ["seen"]
    viewer.close()
    missed = [f"missed {n} {'x' * 300}" for n in range(9)]
    for message in missed:
        server.send([entry(message)])
    eventually(lambda: lines_of(server)["lines"], lambda lines: len(lines) == 10)
    assert list(server.directory.glob("server.log.*"))
    again = view(server, {"Last-Event-ID": viewer.last_id})
    assert again.messages(1) == missed
    server.send([entry("new")])
    assert again.messages(1) == ["new"]


@pytest.mark.parametrize("last_id", ["", "nonsense", "0123456789ab:1:7", "x:y:z", "a" * 2000])
def test_a_position_that_the_log_does_not_have_hides_nothing(start, view, last_id):
    server = start()
    viewer = view(server, {"Last-Event-ID": last_id})
    server.send([entry("seen")])
    assert "seen" in viewer.messages(1)


def test_a_viewer_is_given_no_position_before_the_lines_up_to_it(start, view):
    server = start(FLUSH_COUNT="1")
    server.send([entry("first")])
    eventually(lambda: messages_of(server), lambda messages: messages == ["first"])
    viewer = view(server, last=1)
    assert viewer.last_id == ""
    assert viewer.messages(1) == ["first"]
    assert viewer.last_id


def test_a_view_goes_on_across_rotations(start, view):
    server = start(MAX_LOG_SIZE_MB="0.001", LOG_BACKUPS="100")
    viewer = view(server)
    for n in range(30):
        server.send([entry(f"number {n} {'x' * 300}")])
    assert [message.split()[1] for message in viewer.messages(30)] == [str(n) for n in range(30)]


def test_more_lines_than_a_person_can_read_are_counted(start, view):
    server = start()
    viewer = view(server, rate=5, text="burst")
    server.send([entry(f"burst {n}", "INFO") for n in range(2_000)] + [entry("the end of the burst")])
    matching = shown = 0
    while matching < 2_001:
        data = viewer.next().data
        assert len(data["lines"]) == data["shown"] <= 5
        matching, shown = matching + data["matching"], shown + data["shown"]
    assert matching == 2_001
    assert shown < 2_001


def test_rejected_input_is_a_view_of_its_own(start, view):
    server = start()
    viewer = view(server, rejected=1)
    of_a_reason = view(server, rejected=1, reason="utf8", source="127.0.0.1")
    server.send([b"not json \x1b[31m", b'{"level":"INFO","message":"\xff"}', entry("an entry")])
    notes = viewer.lines(2)
    assert [(note["reason"], note.get("text")) for note in notes] == [("syntax", "not json \x1b[31m"), ("utf8", None)]
    assert of_a_reason.lines(1) == notes[1:]
    assert lines_of(server, "rejected=1&reason=syntax")["lines"] == notes[:1]
    assert lines_of(server, "rejected=1&text=NOT%20json")["lines"] == notes[:1]
    assert lines_of(server, f"rejected=1&source={notes[0]['source']}")["lines"] == notes
    assert lines_of(server, "rejected=1&source=10.0.0.1")["lines"] == []
    assert lines_of(server, "rejected=1&until=1000")["lines"] == []
    assert lines_of(server, "rejected=1&since=1000")["lines"] == notes


HOSTILE = [
    b'{"level":"ERROR",\r"message":"a carriage return"}',
    b'{"level":"ERROR","message":"\\n\\nevent: state\\ndata: {}\\n\\n"}',
    b'{"level":"ERROR","message":"</script>\\u2028\\u0000\\u001b[2J"}',
    b'{"level":"ERROR","message":"m","message":"twice","deep":[[[[[{"level":"INFO"}]]]]]}',
]


def test_hostile_text_stays_in_its_line(start, view):
    server = start()
    viewer = view(server)
    server.send(HOSTILE)
    expected = [json.loads(line) for line in HOSTILE]
    assert viewer.lines(len(HOSTILE)) == expected
    assert lines_of(server)["lines"] == expected
    assert [json.loads(line) for line in get(server.dashboard_port, "/lines?download=1").text.splitlines()] == expected


@pytest.mark.parametrize("query", ["", "&text=HERE"])
def test_a_damaged_note_is_left_out(start, tmp_path, query):
    server = start()
    note = b'{"time":"2026-11-24T07:00:00Z","source":"127.0.0.1:5","reason":"utf8","text":"here %s"}\n'
    (tmp_path / "rejects.jsonl").write_bytes(note % b"\xff" + note % b"it is")
    assert [line["text"] for line in lines_of(server, f"rejected=1{query}")["lines"]] == ["here it is"]


def test_a_carriage_return_of_another_program_ends_no_event(start, view, tmp_path):
    (tmp_path / "server.log").write_bytes(b'{"level":"ERROR",\r"message":"between tokens"}\n')
    assert view(start(), last=1).messages(1) == ["between tokens"]


def test_lines_of_a_time_and_a_number(start):
    server = start(FLUSH_COUNT="1")
    server.send([entry(f"minute {n}", timestamp=f"2026-11-24T07:{n:02}:00Z") for n in range(60)])
    eventually(lambda: len(lines_of(server)["lines"]), lambda count: count == 60)
    window = "since=2026-11-24T07:10:00Z&until=2026-11-24T07:13:00%2B00:00"
    assert messages_of(server, window) == ["minute 10", "minute 11", "minute 12"]
    assert messages_of(server, "since=1795507080") == ["minute 58", "minute 59"]
    newest = lines_of(server, "limit=2")
    assert [line["message"] for line in newest["lines"]] == ["minute 58", "minute 59"]
    assert newest["complete"] is False
    assert newest["searched_bytes"] > 0
    assert newest["oldest"] == "2026-11-24T07:00:00Z"
    assert lines_of(server, "limit=1000")["complete"] is True


def test_lines_of_archives_are_found(start):
    server = start(MAX_LOG_SIZE_MB="0.01", LOG_BACKUPS="100", LOG_COMPRESS="zstd")
    for n in range(20):
        server.send([entry(f"number {n}", app=f"app-{n}", padding="x" * 1_500)])
    eventually(lambda: list(server.directory.glob("server.log.*.zst")), bool)
    assert messages_of(server) == [f"number {n}" for n in range(20)]
    assert messages_of(server, "app=app-0") == ["number 0"]


def test_lines_can_be_downloaded(start):
    server = start()
    viewer_lines = [entry("one"), entry("two")]
    server.send(viewer_lines)
    eventually(lambda: len(lines_of(server)["lines"]), lambda count: count == 2)
    response = get(server.dashboard_port, "/lines?download=1")
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert response.headers["Content-Disposition"] == 'attachment; filename="entries.jsonl"'
    assert [json.loads(line) for line in response.text.splitlines()] == [json.loads(line) for line in viewer_lines]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/tap?levle=INFO", "unknown parameter 'levle'"),
        ("/tap?limit=5", "unknown parameter 'limit'"),
        ("/tap?level=ERORR", "level=ERORR: is not a level"),
        ("/tap?rate=0", "rate=0: must be a whole number from 1 to 50"),
        ("/tap?rate=51", "rate=51"),
        ("/tap?last=201", "last=201: must be a whole number from 0 to 200"),
        ("/tap?rejected=yes", "rejected=yes: must be 0 or 1"),
        ("/tap?reason=utf8", "add rejected=1"),
        ("/tap?rejected=1&app=x", "does not go with rejected=1"),
        ("/tap?app=%FF", "not UTF-8"),
        ("/tap?app=" + "x" * 1_001, "more than 1000 characters"),
        ("/tap?" + "&".join(["app=x"] * 40), "more than 32 parameters"),
        ("/lines?limit=1001", "limit=1001: must be a whole number from 1 to 1000"),
        ("/lines?limit=-1", "limit=-1"),
        ("/lines?since=yesterday", "since=yesterday: must be a time"),
        ("/lines?since=1e99", "since=1e99: must be a time"),
        ("/lines?until=nan", "until=nan: must be a time"),
        ("/lines?since=0001-01-01T00:00:00%2B14:00", "must be a time"),
        ("/lines?until=9999-12-31T23:59:59.999999", "must be a time"),
        ("/lines?since=7&until=7", "until: must be later than since"),
    ],
)
def test_a_wrong_query_is_refused(start, path, reason):
    server = start()
    response = get(server.dashboard_port, path)
    assert response.status == 400
    assert reason in json.loads(response.text)["error"]
    assert view_processes(server) == []


@pytest.mark.parametrize("path", ["/tap", "/lines"])
def test_only_those_may_view_who_may_see_the_figures(start, path):
    server = start(DASHBOARD_TOKEN=TOKEN)
    assert get(server.dashboard_port, path).status == 401
    assert get(server.dashboard_port, path, Host="attacker.example").status == 403
    assert get(server.dashboard_port, path, method="POST", Authorization=f"Bearer {TOKEN}").status == 405
    assert get(server.dashboard_port, path, method="HEAD", Authorization=f"Bearer {TOKEN}").status == 200
    assert view_processes(server) == []
    assert get(server.dashboard_port, "/lines", Authorization=f"Bearer {TOKEN}").status == 200
    assert len(view_processes(server)) == 1


def test_one_viewer_too_many_is_refused_until_another_one_leaves(start, view):
    server = start()
    viewers = [view(server, rate=1 + n % 3) for n in range(64)]
    refused = get(server.dashboard_port, "/tap")
    assert refused.status == 503
    assert json.loads(refused.text)["error"].startswith("64 viewers watch already")
    assert get(server.dashboard_port, "/health").status == 200
    server.send([entry("for all")])
    assert {viewer.messages(1)[0] for viewer in viewers} == {"for all"}
    viewers[0].close()
    eventually(lambda: get(server.dashboard_port, "/lines").status, lambda status: status == 200)


def test_viewers_that_the_process_has_no_descriptor_for_do_not_count_on(start):
    server = start()
    assert lines_of(server)["lines"] == []
    (pid,) = view_processes(server)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    for _ in range(64):
        assert get(server.dashboard_port, "/lines").text == ""
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert get(server.dashboard_port, "/lines").status == 200


def test_viewers_come_again_when_the_process_is_killed(start, view):
    server = start()
    viewer = view(server)
    server.send([entry("before")])
    assert viewer.messages(1) == ["before"]
    (pid,) = view_processes(server)
    os.kill(pid, signal.SIGKILL)
    assert viewer.has_ended()
    server.send([entry("meanwhile")])
    eventually(server.stats, lambda stats: stats["stored"] == 2)
    again = view(server, {"Last-Event-ID": viewer.last_id})
    assert again.messages(1) == ["meanwhile"]
    assert view_processes(server) != [pid]
    assert "the view process ended: the process was ended by a signal: Killed" in server.wait_for_message(
        "view process"
    )


def test_a_process_that_dies_again_and_again_is_left_alone_for_a_while(start, view):
    server = start()
    for _ in range(5):
        viewer = view(server)
        (pid,) = view_processes(server)
        os.kill(pid, signal.SIGKILL)
        assert viewer.has_ended()
        server.wait_for_message("the view process ended")
    refused = get(server.dashboard_port, "/lines")
    assert refused.status == 503
    assert "the view process has ended 5 times: the process was ended by a signal: Killed" in refused.text
    assert get(server.dashboard_port, "/health").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_the_server(start, view, number):
    server = start()
    viewer = view(server)
    (pid,) = view_processes(server)
    server.process.send_signal(number)
    server.process.wait()
    wait_for_end(pid)
    assert viewer.has_ended()


def test_a_viewer_that_does_not_read_holds_up_nobody(start, view):
    server = start(FLUSH_COUNT="1")
    lazy, other = view(server), view(server)
    seen = 0
    while seen < 100:
        server.send([entry("x" * 60_000, "INFO") for _ in range(10)])
        seen += other.next().data["matching"]
    server.send([entry("the end")])
    while "the end" not in [line["message"] for line in other.next().data["lines"]]:
        pass
    matching = shown = 0
    while matching < seen + 1:
        data = lazy.next().data
        matching, shown = matching + data["matching"], shown + data["shown"]
    assert shown <= matching


def test_a_log_that_is_not_there_is_waited_for(start, view):
    server = start(REJECTS_MAX_MB="0")
    viewer = view(server, rejected=1)
    assert viewer.state["waiting"] is True
    assert "rejects.jsonl does not exist yet" in viewer.state["reason"]
    note = b'{"time":"2026-11-24T07:00:00.000000Z","source":"192.0.2.1:7","reason":"utf8"}\n'
    (server.directory / "rejects.jsonl").write_bytes(note)
    assert viewer.next("state").data == {"waiting": False}
    assert viewer.lines(1) == [json.loads(note)]
