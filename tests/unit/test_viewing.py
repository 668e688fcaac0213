"""The view process as the server sees it: its end when nobody needs it, and why there is none."""

import socket
import sys
from types import SimpleNamespace

import pytest
from waitress.adjustments import Adjustments

from fastlog.config import Settings
from fastlog.server import connections, viewing
from fastlog.server.viewing import NoViewsError, Viewing
from fastlog.view.query import Query
from tests.helpers.running import until


def wait_for_end(views: Viewing) -> None:
    def has_ended() -> bool:
        views.look_after()
        return not views.is_running

    until(has_ended, "the end of the process")


def test_the_process_ends_when_nobody_has_viewed_for_a_while(tmp_path, monkeypatch, capfd):
    views = Viewing(Settings(log_dir=str(tmp_path)))
    assert not views.is_running
    views.may_view()
    views.look_after()
    assert views.is_running
    monkeypatch.setattr(viewing, "IDLE_SEC", -1.0)
    wait_for_end(views)
    assert capfd.readouterr().err == ""


def test_a_process_that_cannot_be_started_is_a_reason(tmp_path, monkeypatch):
    views = Viewing(Settings(log_dir=str(tmp_path)))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(NoViewsError, match="cannot be started: No such file or directory"):
        views.may_view()
    assert not views.is_running


def test_what_a_process_said_when_it_failed_is_printed(tmp_path, monkeypatch, capfd):
    views = Viewing(Settings(log_dir=str(tmp_path)))
    failing = tmp_path / "python"
    before = "a message of a process that ran for long" * 30
    script = f"for i in 1 2 3 4 5; do echo {before} >&2; done\necho no module of this name >&2\nexit 1\n"
    failing.write_text(f"#!/bin/sh\n{script}")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    views.may_view()
    wait_for_end(views)
    assert "fastlog: the view process ended: no module of this name; it is started again" in capfd.readouterr().err


def test_a_connection_is_handed_over_although_its_answer_ends_while_it_is_looked_at(closing, monkeypatch):
    near, far = map(closing, socket.socketpair())
    handed_over = []
    views = SimpleNamespace(hand_over=lambda _, query: handed_over.append(query))
    server = SimpleNamespace(viewing=views, active_channels={}, pull_trigger=lambda: None)
    channel = connections._Channel(server, near, ("127.0.0.1", 1), Adjustments(), {})
    channel.query = Query("tap")
    channel.write_soon(b"head")
    flush = channel._flush_exception

    def end_meanwhile(*how: object) -> object:
        """The thread that makes the answer is done just now."""
        channel.close_when_flushed = True
        return flush(*how)

    monkeypatch.setattr(channel, "_flush_exception", end_meanwhile)
    channel.handle_write()
    channel.close_when_flushed = True
    channel.handle_write()
    assert handed_over == [Query("tap")]
    assert far.recv(100) == b"head"
