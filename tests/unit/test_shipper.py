"""The shipper between real files and an engine that the test plays: what is shipped, in which order, and from where on."""

import os
import shutil

import pytest

from fastlog.segments import DURABLE_ATTRIBUTE, Position, Shipped, read_shipped, shipped_path
from fastlog.ship import account, delivery, shipper
from fastlog.ship import files as ship_files
from fastlog.ship.sink import RefusedError, RivalError, TooLargeError, UnavailableError, WentBackError
from tests.helpers.shipping import (
    LOG,
    Recorder,
    append,
    catch_up,
    kill,
    make_segment,
    rotate,
    set_identity,
    ship_all,
    shipper_of,
)

LINE_BYTES = len(b'{"number":000}\n')


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Waits are short."""
    monkeypatch.setattr(delivery, "BACK_OFF_FIRST_SEC", 0.001)
    monkeypatch.setattr(shipper, "POLL_SEC", 0.001)


def lines(first, last):
    return b"".join(b'{"number":%03d}\n' % number for number in range(first, last))


def at(segment, line=0, log=LOG):
    return Position(log, segment, line * LINE_BYTES)


# Order, batches and the end


def test_archives_and_the_live_file_are_shipped_in_order_once(live):
    make_segment(live.with_name("server.log.2"), 1, lines(0, 100))
    make_segment(live.with_name("server.log.1"), 2, lines(100, 200))
    make_segment(live, 3, lines(200, 300))
    sink = Recorder()
    made = ship_all(live, sink)
    assert sink.text == lines(0, 300)
    assert (made.account.lines, made.account.bytes) == (300, 300 * LINE_BYTES)
    assert [batch.first for batch in sink.batches] == [at(1), at(2), at(3)]
    assert read_shipped(live) == Shipped(*at(3, 100), acknowledged=str(at(3, 100)))
    ship_all(live, sink)
    assert sink.text == lines(0, 300)


def test_batches_follow_each_other(live):
    make_segment(live, 1, lines(0, 1000))
    sink = Recorder()
    ship_all(live, sink, batch_bytes=1024)
    assert sink.text == lines(0, 1000)
    assert all(900 < len(batch.lines) <= 1024 for batch in sink.batches[:-1])
    assert [batch.first for batch in sink.batches[1:]] == [batch.last for batch in sink.batches[:-1]]


def test_each_line_is_shipped_when_its_end_is_written(live, begin):
    make_segment(live, 1)
    sink = Recorder()
    made = begin(live, sink)
    made.turn()
    for byte in lines(0, 3):
        append(live, bytes([byte]))
        made.turn()
        assert sink.text == live.read_bytes()[: live.read_bytes().rfind(b"\n") + 1]
    assert len(sink.batches) == 3


def test_once_ends_while_the_log_grows(live):
    make_segment(live, 1, lines(0, 10))

    class Growing(Recorder):
        def send(self, batch):
            append(live, lines(0, 10))
            return super().send(batch)

    sink = Growing()
    ship_all(live, sink)
    assert sink.text == lines(0, 10)


def test_once_without_a_log_ends(live, capfd):
    ship_all(live, Recorder())
    assert f"there is no {live}" in capfd.readouterr().err
    assert not shipped_path(live).exists()


def test_a_log_whose_server_is_too_old_is_refused(live, monkeypatch):
    monkeypatch.setattr(shipper, "NAMELESS_START_SEC", 0.01)
    live.write_bytes(lines(0, 10))
    with pytest.raises(RefusedError, match="has no identity"):
        ship_all(live, Recorder())


# Rotations


def test_a_file_is_shipped_to_its_end_before_the_next_one(live, begin):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    append(live, lines(10, 20))
    rotate(live, 2, lines(20, 30))
    catch_up(made)
    assert sink.text == lines(0, 30)
    assert made.position == at(2, 10)


def test_a_rotation_by_another_program_does_not_end_a_file(live, begin):
    """The server writes to the old file until it opens its log anew."""
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    os.rename(live, f"{live}.1")
    made.turn()
    append(live.with_name("server.log.1"), lines(10, 20))
    made.turn()
    live.write_bytes(b"")  # logrotate's `create`
    made.turn()
    append(live.with_name("server.log.1"), lines(20, 30))
    made.turn()
    assert sink.text == lines(0, 30)
    set_identity(live, 2)
    append(live, lines(30, 40))
    catch_up(made)
    assert sink.text == lines(0, 40)
    assert not made.account.missing_segments


def test_a_file_that_is_deleted_while_it_is_shipped_is_shipped(live, begin):
    """As with LOG_BACKUPS=0."""
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    append(live, lines(10, 20))
    os.replace(make_segment(live.with_name("server.log.new"), 2, lines(20, 30)), live)
    catch_up(made)
    assert sink.text == lines(0, 30)
    assert not made.account.missing_segments


def test_files_that_are_missing_are_counted_and_passed_over(live, begin, capfd):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    make_segment(live, 1, b"")
    os.replace(make_segment(live.with_name("server.log.new"), 5, lines(20, 30)), live)
    catch_up(made)
    assert sink.text == lines(0, 10) + lines(20, 30)
    assert made.account.missing_segments == 3
    assert "segments 2 to 4 are missing" in capfd.readouterr().err


def test_a_file_that_was_shipped_and_deleted_is_not_missing(live, begin):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    rotate(live, 2)
    catch_up(made)
    made.finish()
    assert read_shipped(live).position == at(2)
    os.unlink(f"{live}.1")
    append(live, lines(10, 20))
    again = ship_all(live, sink)
    assert sink.text == lines(0, 20)
    assert not again.account.missing_segments


def test_a_file_that_was_deleted_before_it_was_shipped_is_missing(live, capfd):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    ship_all(live, sink)
    os.replace(make_segment(live.with_name("server.log.new"), 2, lines(20, 30)), live)
    made = ship_all(live, sink)
    assert sink.text == lines(0, 10) + lines(20, 30)
    assert not made.account.missing_segments
    assert "segment 1 was deleted after 150 bytes of it were shipped" in capfd.readouterr().err
    os.replace(make_segment(live.with_name("server.log.new"), 4, lines(40, 50)), live)
    made = ship_all(live, sink)
    assert made.account.missing_segments == 1
    assert "segment 3 is missing" in capfd.readouterr().err


def test_a_gap_waits_for_a_file_that_cannot_be_read(live, begin, monkeypatch):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    rotate(live, 2, lines(10, 20))
    rotate(live, 3, lines(20, 30))
    look = ship_files.identity_of

    def not_readable(file):
        if str(file) == f"{live}.1":
            raise PermissionError(13, "Permission denied")
        return look(file)

    monkeypatch.setattr(ship_files, "identity_of", not_readable)
    catch_up(made)
    assert sink.text == lines(0, 10)
    assert made.problem == (
        f"the log in {live.parent} cannot be read: {live}.1: Permission denied (segment 2 is looked for)"
    )
    monkeypatch.setattr(ship_files, "identity_of", look)
    catch_up(made)
    assert sink.text == lines(0, 30)
    assert not made.problem


def test_a_live_file_that_never_gets_an_identity_is_said(live, begin, monkeypatch):
    monkeypatch.setattr(shipper, "NAMELESS_SEC", 0)
    make_segment(live, 1, lines(0, 10))
    made = begin(live, Recorder())
    catch_up(made)
    os.rename(live, f"{live}.1")
    live.write_bytes(b"")
    made.turn()
    assert "has no identity" in made.problem
    set_identity(live, 2)
    catch_up(made)
    assert not made.problem


def test_an_unfinished_last_line_of_a_complete_file_is_left_out(live, begin, capfd):
    make_segment(live, 1, lines(0, 10) + b'{"number":')
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    rotate(live, 2, lines(10, 20))
    catch_up(made)
    assert sink.text == lines(0, 20)
    assert made.account.left_out_lines == 1
    assert "segment 1 (server.log) is not durable, or has no end of line: 10 bytes are left out, 1 line\n" in (
        capfd.readouterr().err
    )


def test_an_offset_inside_a_line_is_said_and_passed_over(live, capfd):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder(Position(LOG, 1, LINE_BYTES + 3))
    made = ship_all(live, sink)
    assert sink.text == lines(2, 10)
    assert made.account.left_out_lines == 1
    assert "is not where a line begins" in capfd.readouterr().err


# Files that other programs change


def test_a_file_that_is_cut_ends_there(live, begin, capfd):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    os.truncate(live, 0)
    made.turn()  # the server has not seen it yet
    made.turn()
    set_identity(live, 2)
    append(live, lines(20, 40))
    catch_up(made)
    assert sink.text == lines(0, 10) + lines(20, 40)
    assert [batch.first for batch in sink.batches] == [at(1), at(2)]
    assert capfd.readouterr().err.count("was cut") == 1
    assert not made.account.missing_segments


def test_of_a_file_that_is_cut_a_copy_is_shipped_to_its_end(live, begin):
    """logrotate's `copytruncate`: the server gives the copy the identity that the file had."""
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    append(live, lines(10, 20))
    shutil.copyfile(live, f"{live}.1")
    os.truncate(live, 0)
    made.turn()
    set_identity(live.with_name("server.log.1"), 1)
    made.turn()
    set_identity(live, 2)
    append(live, lines(20, 40))
    catch_up(made)
    assert sink.text == lines(0, 40)


def test_a_file_that_a_repair_replaces_is_opened_anew(live, begin):
    make_segment(live, 1, lines(0, 10) + b'{"num')
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    os.replace(make_segment(live.with_name("server.log.repaired"), 1, lines(0, 12)), live)
    catch_up(made)
    assert sink.text == lines(0, 12)


def test_a_log_that_is_begun_anew_follows(live, begin):
    make_segment(live, 7, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    append(live, lines(10, 20))
    os.unlink(live)
    make_segment(live, 1, lines(20, 30), log="ffffffffffff")
    catch_up(made)
    assert sink.text == lines(0, 30)
    os.unlink(live)
    make_segment(live, 1, lines(30, 40), log="eeeeeeeeeeee")
    made.finish()
    ship_all(live, sink)  # the note says that the log before was shipped from here
    assert sink.text == lines(0, 40)


def test_a_directory_that_is_replaced_is_read_on(live, begin):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    os.rename(live.parent, live.parent.with_name("moved"))
    made.turn()
    live.parent.mkdir()
    make_segment(live, 2, lines(10, 20))
    catch_up(made)
    assert sink.text == lines(0, 20)
    made.finish()
    assert read_shipped(live).position == at(2, 10)


# A disk that fails


def fail_sync(monkeypatch):
    fsync = os.fsync

    def fail(fd):
        if os.readlink(f"/proc/self/fd/{fd}").endswith("server.log"):
            raise OSError(5, "Input/output error")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fail)


def test_after_a_failed_sync_nothing_more_of_the_file_is_shipped(live, begin, monkeypatch, capfd):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    append(live, lines(10, 20))
    with monkeypatch.context() as patch:
        fail_sync(patch)
        made.turn()
        assert "Input/output error; nothing more of it is shipped" in made.problem
    append(live, lines(20, 25))
    made.turn()  # now it would succeed, and prove nothing
    assert read_shipped(live).problem == made.problem
    rotate(live, 2, lines(30, 40))
    catch_up(made)
    assert sink.text == lines(0, 10) + lines(30, 40)
    assert made.account.left_out_lines == 15
    assert not made.problem
    said = capfd.readouterr().err
    assert "225 bytes are left out, 15 lines" in said


def test_after_a_failed_sync_what_the_server_knows_to_be_durable_is_shipped(live, begin, monkeypatch):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    with monkeypatch.context() as patch:
        fail_sync(patch)
        made.turn()
    os.setxattr(live, DURABLE_ATTRIBUTE, str(6 * LINE_BYTES).encode())
    os.rename(live, f"{live}.distrusted.1")
    make_segment(live, 2, lines(6, 10))
    catch_up(made)
    assert sink.text == lines(0, 10)
    assert made.account.left_out_lines == 4


def test_of_files_set_aside_the_rest_is_counted(live):
    make_segment(live.with_name("server.log.distrusted.1"), 1, lines(0, 10), durable=6 * LINE_BYTES)
    make_segment(live, 2, lines(6, 20))
    sink = Recorder()
    made = ship_all(live, sink)
    assert sink.text == lines(0, 20)
    assert made.account.left_out_lines == 4


def test_what_was_shipped_beyond_the_durable_part_is_not_counted(live):
    make_segment(live.with_name("server.log.distrusted.1"), 1, lines(0, 10), durable=6 * LINE_BYTES)
    make_segment(live, 2, lines(10, 20))
    sink = Recorder(at(1, 10))
    made = ship_all(live, sink)
    assert sink.text == lines(10, 20)
    assert not made.account.left_out_lines


def test_a_file_that_cannot_be_read_is_tried_for_a_while(live, begin, monkeypatch):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    pread = os.pread

    def fail(fd, size, offset):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    made.turn()
    made.turn()
    assert made.problem.endswith("cannot be read: Input/output error")
    monkeypatch.setattr(os, "pread", pread)
    made.turn()
    assert sink.text == lines(0, 10)
    assert not made.problem
    append(live, lines(10, 20))
    monkeypatch.setattr(os, "pread", fail)
    monkeypatch.setattr(shipper, "READ_PATIENCE_SEC", 0)
    made.turn()
    assert "nothing more of it is shipped" in made.problem
    rotate(live, 2, lines(20, 30))
    made.turn()
    monkeypatch.setattr(os, "pread", pread)
    catch_up(made)
    assert sink.text == lines(0, 10) + lines(20, 30)
    assert not made.problem


def test_no_descriptors_left_is_not_the_end(live, begin, monkeypatch):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *arguments, **more: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        assert not made.turn()
        assert "Too many open files" in made.problem
    catch_up(made)
    assert sink.text == lines(0, 10)
    made.finish()
    assert not read_shipped(live).problem


# The engine


def test_a_batch_that_is_not_acknowledged_is_sent_again_as_it_was(live, capfd):
    make_segment(live, 1, lines(0, 10))
    sent = []

    class Away(Recorder):
        def send(self, batch):
            sent.append(batch)
            append(live, lines(10, 11))
            return super().send(batch)

    sink = Away()
    sink.answers = [
        UnavailableError("it is away"),
        None,
        *[UnavailableError("it is away")] * 3,
        OSError(111, "refused"),
    ]
    ship_all(live, sink)
    assert sink.text == lines(0, 10)
    assert len(set(sent)) == 1
    assert len(sent) == 5
    said = capfd.readouterr().err
    assert said.count("it is away") == 2
    assert "the engine cannot be reached: refused" in said
    assert said.count("the engine takes lines again, after") == 2


def test_the_note_says_why_nothing_is_shipped(live):
    make_segment(live, 1, lines(0, 10))

    class Looking(Recorder):
        seen = None

        def send(self, batch):
            self.seen = read_shipped(live)
            return super().send(batch)

    sink = Looking()
    sink.answers = [None, UnavailableError("it is away")]
    ship_all(live, sink)
    assert sink.seen == Shipped(*at(1), problem="it is away")
    assert read_shipped(live) == Shipped(*at(1, 10), acknowledged=str(at(1, 10)))


def test_the_note_is_there_before_the_engine_is(live):
    make_segment(live.with_name("server.log.1"), 3, lines(0, 10))
    make_segment(live, 4, lines(10, 20))

    class Looking(Recorder):
        seen = None

        def resume(self):
            self.seen = read_shipped(live)
            return super().resume()

    sink = Looking()
    ship_all(live, sink)
    assert sink.seen == Shipped(*at(3))


def test_while_the_engine_is_away_the_lag_is_told(live, monkeypatch, capfd):
    monkeypatch.setattr(account, "REMIND_SEC", 0)
    make_segment(live.with_name("server.log.1"), 1, lines(0, 10))
    make_segment(live, 2, lines(10, 20))
    sink = Recorder()
    sink.answers = [None, None, UnavailableError("it is away")]
    ship_all(live, sink)
    assert "150 bytes of the log wait: it is away" in capfd.readouterr().err


def test_an_engine_that_went_back_gets_the_lines_again(live, capfd):
    make_segment(live, 1, lines(0, 100))
    sink = Recorder()
    sink.answers = [None, None, None, WentBackError(at(1, 15))]
    ship_all(live, sink, batch_bytes=10 * LINE_BYTES)
    assert [batch.first for batch in sink.batches[:4]] == [at(1, 0), at(1, 10), at(1, 15), at(1, 25)]
    assert "lost what it had acknowledged" in capfd.readouterr().err


def test_an_engine_that_went_back_to_files_that_are_gone_continues_with_the_oldest(live, begin, capfd):
    make_segment(live, 5, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    append(live, lines(10, 20))
    sink.answers = [WentBackError(at(3, 2))]
    catch_up(made)
    assert sink.text == lines(0, 10) + lines(0, 20)
    assert made.account.missing_segments == 1
    said = capfd.readouterr().err
    assert "segment 3 was deleted after 30 bytes" in said
    assert "segment 4 is missing" in said


def test_an_engine_that_has_more_than_it_told_is_believed(live, begin, capfd):
    make_segment(live, 1, lines(0, 20))
    sink = Recorder()
    made = begin(live, sink, batch_bytes=10 * LINE_BYTES)
    sink.answers = [WentBackError(at(1, 10))]
    catch_up(made)
    assert sink.text == lines(10, 20)
    assert "lost" not in capfd.readouterr().err


def test_an_engine_is_asked_while_there_is_nothing_to_ship(live, begin):
    make_segment(live, 1, lines(0, 20))

    class Restored(Recorder):
        checks = 0

        def check(self):
            self.checks += 1
            if self.checks == 2:
                raise WentBackError(at(1, 10))

    sink = Restored()
    made = begin(live, sink)
    made.turn()
    made.turn()
    assert sink.text == lines(0, 20)
    made._delivery._check_at = 0  # a second later
    catch_up(made)
    assert sink.text == lines(0, 20) + lines(10, 20)


def test_an_engine_that_was_emptied_ends_the_shipper(live, begin):
    make_segment(live, 1, lines(0, 10))
    ship_all(live, Recorder())
    sink = Recorder()
    with pytest.raises(RivalError, match="--from-start"):
        ship_all(live, sink)
    ship_all(live, sink, from_start=True)
    assert sink.text == lines(0, 10)
    append(live, lines(10, 20))
    sink.answers = [None, WentBackError(None)]
    with pytest.raises(RivalError, match="--from-start"):
        ship_all(live, sink)
    sink.answers = [None, WentBackError(None)]
    ship_all(live, sink, from_start=True)
    assert sink.text == lines(0, 10) + lines(0, 20)


def test_batches_become_smaller_with_what_the_engine_takes(live):
    make_segment(live, 1, lines(0, 100) + b"x" * 200 + b"\n" + lines(100, 110))

    class Narrow(Recorder):
        def send(self, batch):
            self.max_bytes = 10 * LINE_BYTES
            if len(batch.lines) > self.max_bytes:
                raise TooLargeError("too large")
            return super().send(batch)

    sink = Narrow()
    made = ship_all(live, sink)
    assert sink.text == lines(0, 110)
    assert made.account.refused == 1
    assert not made.problem


def test_lines_that_the_engine_refuses_are_counted(live):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    sink.refused_next = 3
    made = ship_all(live, sink)
    assert (made.account.lines, made.account.refused) == (7, 3)
    assert "; refused 3 lines" in made.account.summary()


def test_where_the_note_is_the_authority(live):
    make_segment(live, 1, lines(0, 10))

    class Forgetful(Recorder):
        def resume(self):
            return None

    sink = Forgetful()
    ship_all(live, sink, engine_remembers=False)
    append(live, lines(10, 20))
    ship_all(live, sink, engine_remembers=False)
    assert sink.text == lines(0, 20)
    shipped_path(live).write_bytes(b"garbage")
    ship_all(live, sink, engine_remembers=False)
    assert sink.text == lines(0, 20) * 2


# The note


def test_a_note_that_cannot_be_written_is_tried_again(live, begin, monkeypatch):
    monkeypatch.setattr("fastlog.ship.note.NOTE_EVERY_SEC", 0)
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    made = begin(live, sink)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda old, new: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        catch_up(made)
        made.turn()
        assert sink.text == lines(0, 10)
        assert made.problem == f"cannot write {shipped_path(live)}: No space left on device"
    made.turn()
    made.turn()
    assert not made.problem
    assert read_shipped(live) == Shipped(*at(1, 10), acknowledged=str(at(1, 10)))


def test_a_note_that_may_not_be_written_is_refused_at_the_start(live, monkeypatch):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda old, new: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
        with pytest.raises(RefusedError, match=r"Operation not permitted; .* its user needs to write in"):
            ship_all(live, sink)
    assert not sink.batches


def test_the_note_is_written_once_a_second_at_most(live, begin, monkeypatch):
    make_segment(live, 1, lines(0, 100))
    renames = []
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda old, new: (renames.append(new), rename(old, new)))
    made = begin(live, Recorder(), batch_bytes=LINE_BYTES)
    catch_up(made)
    assert len(renames) == 1  # at the first start
    made.finish()
    assert len(renames) == 2
    assert read_shipped(live).position == at(1, 100)


@pytest.mark.parametrize("lost_note", [False, True])
def test_a_shipper_killed_anywhere_continues_at_the_engine_s_last_line(live, begin, lost_note):
    """It is killed after each number of batches, before its note is written."""
    make_segment(live.with_name("server.log.1"), 1, lines(0, 10) + b"torn")
    make_segment(live, 2, lines(10, 20))
    for count in range(1, 11):
        shipped_path(live).unlink(missing_ok=True)

        class Killed(Recorder):
            def send(self, batch, count=count):
                if len(self.batches) == count:
                    raise KeyboardInterrupt
                return super().send(batch)

        sink = Killed()
        made = shipper_of(live, sink, batch_bytes=2 * LINE_BYTES)
        try:
            made.begin()
            catch_up(made)
        except KeyboardInterrupt:
            pass
        kill(made)
        if lost_note:
            shipped_path(live).unlink()
        again = Recorder(sink.position)
        ship_all(live, again)
        assert sink.text + again.text == lines(0, 20), count
