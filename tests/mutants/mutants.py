"""The list. A mutant is an error that would break a promise, or a figure, without being seen at once.

`old` occurs once in its file. `tests` are the tests that should find the mutant; all of the others are run if they do
not.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    path: str
    old: str
    new: str
    tests: str

    def applied(self, source: str) -> str:
        return source.replace(self.old, self.new)


# For the path of a priority entry from the line buffer to its ACK.


# For the path of a priority entry from the line buffer to its ACK.
CORE = "tests/unit/test_commit.py tests/unit/test_logfile.py tests/unit/test_faults.py tests/unit/test_held.py tests/unit/test_crash.py tests/server/test_faulty_disk.py"


def _of(path: str, tests: str, *mutants: tuple[str, str, str]) -> list[Mutant]:
    return [Mutant(name, f"fastlog/server/{path}", old, new, tests) for name, old, new in mutants]


MUTANTS = [
    *_of(
        "_aio.pyx",
        "tests/unit/test_storage.py tests/server/test_faulty_disk.py",
        ("the error of an asynchronous sync is ignored", "-events[i].res", "0"),
        ("the kernel's refusal of a sync is ignored", "if submitted < 0:", "if submitted < -1:"),
        ("a file's sync is of its directory's kind alone", "IOCB_CMD_FSYNC if directory else IOCB_CMD_FDSYNC", "17"),
        ("syncs that ended still count as under way", "self.under_way -= count", "self.under_way -= 0"),
    ),
    *_of(
        "storage.py",
        "tests/unit/test_storage.py tests/server/test_faulty_disk.py",
        ("only the error of the last part counts", "error = error or self._failure(", "error = 0 or self._failure("),
        ("only the error of the first part counts", "if number:\n", "if number and left == 2:\n"),
        ("a sync ends with its first part", "if left > 1:", "if left > 99:"),
        (
            "a sync that was refused ended well",
            "refused.append((part, error.errno or errno.EIO))",
            "refused.append((part, 0))",
        ),
        (
            "any error of a directory's sync is ignored",
            "        if error.errno not in NOT_SUPPORTED:\n            raise error\n",
            "",
        ),
        ("a file without syncs counts as a directory", "if is_directory:\n", "if True:\n"),
        ("a blocking sync leaves out the files", "            os.fdatasync(fd)\n", "            pass\n"),
        ("a blocking sync leaves out the directory", "                os.fsync(directory)\n", "                pass\n"),
        ("any file may be locked twice", "            if error.errno not in NO_LOCKS:\n                raise\n", ""),
        ("the name of a new directory is not synced", "                self._sync_new_name(directory.parent)\n", ""),
        (
            "only as many syncs begin as the kernel has room for",
            "        self._submit()\n\n    def _failure",
            "\n    def _failure",
        ),
        (
            "syncs block for good",
            "        self.why_blocking = None if failure is None",
            "        self.why_blocking = 'x' if failure is None",
        ),
        ("finish waits for a hanging sync for ever", "if monotonic() >= self.give_up_at:", "if False:"),
    ),
    *_of(
        "commit.py",
        CORE,
        (
            "lost entries are taken for stored ones",
            "        self._forget(self.held.bound())\n",
            "        self.held.bound()\n",
        ),
        (
            "entries that only the lost file held are taken for stored",
            "        self._forget(self.held.unwrite())\n",
            "        self.held.unwrite()\n",
        ),
        ("the ACKs of the group under way are lost", "            self.gathering.acks.absorb(group.acks)\n", ""),
        ("a failed sync is not counted", "        if error:\n            self.sync_failures += 1\n", ""),
        ("a sync is not counted", "        self.syncs += 1\n", ""),
        (
            "ACK latency forgets the group that failed",
            "            self.gathering.since = min(self.gathering.since, group.since)\n",
            "",
        ),
        (
            "ACK latency begins with the newest entry",
            "self.gathering.since = min(self.gathering.since, self._intake",
            "self.gathering.since = min(math.inf, self._intake",
        ),
        ("syncs overlap", "return math.inf if self.under_way else", "return"),
        (
            "syncs are not apart",
            "self._even_at = max(self._even_at, at) + self._apart_sec",
            "self._even_at = max(self._even_at, at)",
        ),
        (
            "entries of the next group count as durable",
            "        self.held.durable(group.covers_to)\n",
            "        self.held.durable(self.held.seal())\n",
        ),
        (
            "entries without ACKs are not synced",
            "return not self.gathering.acks.count and not self.held.awaits_sync(covered_to)",
            "return not self.gathering.acks.count",
        ),
        ("ACKs gather in the group under way", "        self._intake.take_acks(self.gathering.acks)\n", ""),
    ),
    *_of(
        "held.py",
        "tests/unit/test_held.py tests/unit/test_faults.py",
        ("held lines have no limit", "while self._size > HELD_MAX_BYTES:", "while self._size > 1 << 60:"),
        (
            "lost entries are not counted",
            "        self.lost += max(self._written_to - max(first, self._counted_to), 0)\n",
            "",
        ),
        ("entries lost at the end are not counted", "        self.lost += self.buffered\n", ""),
        (
            "written lines are forgotten when the file fails",
            "in (*self._written, *self._unwritten) if",
            "in self._unwritten if",
        ),
        ("a sync covers what is put to its lines later", "        self._written.append(_Chunk())", "        #"),
        ("lines are durable one too early", "self._written[0].count <= to:", "self._written[0].count <= to + 1:"),
        (
            "a line at the cut is counted twice",
            'self.lines.count(b"\\n", 0, size)',
            'self.lines.count(b"\\n", 0, size) + 1',
        ),
        (
            "moving entries count as stored twice",
            "        self._counted_to = max(self._counted_to, self._written_to)\n        return [",
            "        return [",
        ),
        ("dropped lines still take room", "        self._size -= len(chunk.lines)\n", ""),
        ("what is dropped keeps its number", "        self._begins += chunk.count\n", ""),
    ),
    *_of(
        "linesfile.py",
        f"{CORE} tests/unit/test_other_programs.py",
        ("a failed truncation counts as a full disk", "OSError(errno.EIO, worse", "OSError(errno.ENOSPC, worse"),
        ("half a line stays after a failed write", "if done > whole:", "if False:"),
        (
            "a file that was cut is written to",
            "state.st_nlink == 0 or state.st_size < self.size",
            "state.st_nlink == 0",
        ),
        ("a file that was removed counts as whole", "return state.st_nlink > 0 and", "return"),
        (
            "an error holds the lines that were not written",
            "return whole, error.with_traceback(None)",
            "return whole, error",
        ),
        ("a file is used by two servers", "            storage.lock(self.fd)\n", "            pass\n"),
        ("a FIFO is opened", "if not stat.S_ISREG(mode):", "if stat.S_ISDIR(mode):"),
        (
            "a line begins behind half of another program's",
            'is_whole = not size or os.pread(self.fd, 1, size - 1) == b"\\n"',
            "is_whole = True",
        ),
    ),
    *_of(
        "logfile.py",
        f"{CORE} tests/unit/test_other_programs.py",
        ("rotated files are closed unsynced", "        if self._needs_sync:\n", "        if False:\n"),
        (
            "rotated files that wait for a sync have no limit",
            "if len(self._rotated_unsynced) >= ROTATED_UNSYNCED_MAX:",
            "if False:",
        ),
        ("a new name is not synced", "self._directory_fd if new_name else None", "None"),
        ("rotated files are not synced", "[file.fd for file in covered]", "[self._live.fd]"),
        (
            "the file that a repair replaced is written to",
            "        if not self._live.is_at(self.path):  # a repaired",
            "        if False:  # a repaired",
        ),
        (
            "a rotation that fails is not shown",
            "            self.rotation_failure = error.strerror or str(error)\n",
            "            self.rotation_failure = None\n",
        ),
        (
            "a file is one byte larger than its limit",
            "room = max(self._rotate_at - self.size, 0)",
            "room = max(self._rotate_at - self.size, 0) + 1",
        ),
        ("lines are cut at the limit", 'fitting = bytes(lines[:room]).rfind(b"\\n") + 1\n', "fitting = room\n"),
        (
            "a file that failed becomes an archive",
            "            self._names.set_aside()\n",
            "            self._names.rotate()\n",
        ),
        ("rotations are not counted", "        self.rotations += 1\n", ""),
        (
            "the name of a new file in place of one that failed is not synced",
            "self._storage.sync([], self._directory_fd, done)",
            "done(None)",
        ),
        ("repairs are not synced at the start", "        self.sync()  # makes repairs", "        # makes repairs"),
        (
            "another program's file is rotated away",
            "        if not self.has_name():  # whatever",
            "        if False:  # whatever",
        ),
        (
            "files set aside have no limit",
            "for number in range(1, DISTRUSTED_MAX + 1):",
            "for number in range(1, 1 << 30):",
        ),
        (
            "a rotation may not remove what is not durable",
            "file.is_rotated_out = not file.is_whole()",
            "pass",
        ),
        (
            "a file that took the place of one that failed may be gone",
            "        self._needs_sync = True  # the ACKs",
            "        # the ACKs",
        ),
        (
            "a file is closed before its sync shows whether it was cut",
            "        elif self._live not in self._under_sync:\n",
            "        else:\n",
        ),
        ("archives beyond the limit stay", "self._names.remove_surplus()\n", "pass\n"),
    ),
    *_of(
        "writer.py",
        f"{CORE} tests/unit/test_other_programs.py",
        ("a failed write during a sync is forgotten", "if error or self._state is State.REWRITING:", "if error:"),
        (
            "a failed sync is taken for a good one",
            "if error or self._state is State.REWRITING:",
            "if self._state is State.REWRITING:",
        ),
        (
            "SIGHUP changes the file before the entries are written",
            "        self.flush(now)\n        if self._state is State.REWRITING:  # which",
            "        if self._state is State.REWRITING:  # which",
        ),
        (
            "ACKs are sent for a file that is gone",
            "        elif not self._log.is_whole():  # what was synced is nowhere",
            "        elif False:",
        ),
        (
            "the end waits for the sync under way first",
            "        self.retry(now)  # before it waits",
            "        self._log.wait()\n        self.retry(now)  # before it waits",
        ),
        ("the end does not sync", "        self._log.wait()\n        self._log.sync()\n", "        self._log.wait()\n"),
        ("a full disk counts as a broken file", "if is_gone or error.errno in NO_ROOM:", "if is_gone:"),
        ("a broken file counts as a full disk", "if is_gone or error.errno in NO_ROOM:", "if True:"),
        ("stored entries are not counted", "        self.stored += entries\n", ""),
        (
            "ACKs are sent though the write failed",
            "            self._refused(self._log.error, now)\n            return\n",
            "            self._refused(self._log.error, now)\n",
        ),
        (
            "a failure is shown when it is over",
            "        self._state = State.WRITING\n        self.failure = None\n",
            "        self._state = State.WRITING\n",
        ),
        (
            "unwritten lines are not bounded",
            "            self._held.hold_unwritten(lines, count)\n            self.commit.bound_memory()\n",
            "            self._held.hold_unwritten(lines, count)\n",
        ),
        (
            "lines that wait for the disk come behind newer ones",
            "            if self._log.error:\n                return\n        if not self._lines.entries:",
            "        if not self._lines.entries:",
        ),
        ("entries left at the end are not counted", "        self._given_up += self._lines.entries\n", ""),
        (
            "ACKs are sent for a rotated file that is gone",
            "        elif self._log.lost_lines:  # some",
            "        elif False:  # some",
        ),
        (
            "what is written again is waited for in the old file, too",
            "        self.commit.take_back(now)\n        self._log.need_no_sync()\n",
            "        self.commit.take_back(now)\n",
        ),
        (
            "a name that came back stays a failure",
            "        elif self._log.name_failure:\n",
            "        elif False:\n",
        ),
        ("nobody looks for the file", "        self._look_due.set(now + LOOK_SEC)\n", ""),
        (
            "entries that the next sync has to cover wait for another entry",
            "            if self.commit.is_due:\n                self.flush_priority(now)\n",
            "",
        ),
    ),
    *_of(
        "pipeline.py",
        "tests/unit/test_drain.py tests/server/test_serve.py",
        ("a turn has no end", "if monotonic() - now > TURN_SEC:", "if False:"),
        ("the end goes on receiving", "if monotonic() - began > END_DRAIN_SEC:", "if False:"),
        ("little is remembered at the start", "REMEMBERED_BYTES = 64_000_000", "REMEMBERED_BYTES = 64_000"),
        (
            "entries wait for the next datagram",
            "            self._flush_due.set_if_clear(now + self._flush_timeout_sec)\n",
            "            pass\n",
        ),
        ("a disk that refused at the end is kept quiet", "return not self.writer.failure", "return True"),
    ),
    *_of(
        "repair.py",
        "tests/unit/test_repair.py tests/unit/test_crash.py",
        (
            "a repaired file is not synced before the rename",
            "                self._storage.sync_now([fd])\n            finally:\n                self._storage.close(fd)\n            self._storage.rename",
            "            finally:\n                self._storage.close(fd)\n            self._storage.rename",
        ),
        (
            "the search ends at the first zero",
            "        at = _next_whole(fd, zero, feed) if feed < finder.size else finder.size",
            "        at = finder.size",
        ),
        ("any line behind zeros counts as whole", "return reason is None and end == len(line)", "return True"),
        ("no line behind zeros counts as whole", "return reason is None and end == len(line)", "return False"),
        ("archives are not searched", "        if size > 0:\n", "        if size > 0 and number == 0:\n"),
        (
            "a repaired archive is not synced",
            "        if not self._is_live:\n            self._storage.sync_now([fd])\n",
            "",
        ),
        (
            "overwritten zeros are not synced before they vanish",
            "        self._storage.sync_now([fd])\n        for begin, end in self._damages():",
            "        for begin, end in self._damages():",
        ),
        (
            "a file that another server has open is repaired",
            "    except BlockingIOError as error:\n        error.filename = str(path)\n        raise\n",
            "    except BlockingIOError:\n        pass\n",
        ),
        (
            "a repair changes the file's time",
            "        self._storage.set_time(fd, self._found.modified_ns)\n        if not",
            "        if not",
        ),
        (
            "a failed rewrite leaves its file",
            "                self._storage.unlink(self._new)\n",
            "                pass\n",
        ),
    ),
    *_of(
        "torn.py",
        "tests/unit/test_repair.py tests/unit/test_crash.py",
        (
            "unfinished lines are not synced before the cut",
            "self._storage.sync_now([self._fd], self._directory_fd)",
            "pass",
        ),
        (
            "the name of the file of unfinished lines is not synced",
            "self._storage.sync_now([self._fd], self._directory_fd)",
            "self._storage.sync_now([self._fd])",
        ),
        (
            "half of the unfinished lines stays on a full disk",
            "                self._storage.truncate(self._fd, self._size_before)\n",
            "                pass\n",
        ),
        (
            "bytes that could not be kept are not counted",
            "        self.bytes += len(part)\n        if self._failure is None:",
            "        if self._failure is None:\n            self.bytes += len(part)",
        ),
    ),
    *_of(
        "found_files.py",
        "tests/unit/test_repair.py tests/unit/test_faults.py tests/server/test_start.py",
        ("what a kill left unsynced is remembered as durable", "        storage.sync_now([fd])\n", ""),
        (
            "what the disk did not take is remembered as stored",
            "            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)\n",
            "            pass\n",
        ),
        ("half a line is remembered", 'content.find(b"\\n") + 1 if size < found.size else 0', "0"),
        ("files set aside are not remembered", '|{DISTRUSTED})?")', ')?")'),
        (
            "a FIFO in the log's place holds up the start",
            "os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC",
            "os.O_RDONLY | os.O_CLOEXEC",
        ),
    ),
    *_of(
        "rejects.py",
        "tests/unit/test_rejects.py tests/server/test_rejects.py",
        ("notes have no limit", "NOTES_PER_SEC = 5_000", "NOTES_PER_SEC = 5_000_000"),
        (
            "the rejects file has twice its size",
            "FILENAME, cap_bytes // 2, backups=1",
            "FILENAME, cap_bytes, backups=1",
        ),
        (
            "notes that were not written are not counted",
            '        self.lost += len(notes) - bytes(data[:done]).count(b"\\n")\n',
            "",
        ),
        ("notes have no limit of bytes", "NOTE_BYTES_PER_SEC = 1_000_000", "NOTE_BYTES_PER_SEC = 1_000_000_000"),
        ("a file that could not be opened stays closed", "            self._open_due.set(now + OPEN_AGAIN_SEC)\n", ""),
        (
            "notes are tried for each piece on a full disk",
            "                self._rejected.allow(0, 0)\n",
            "                pass\n",
        ),
    ),
    *_of(
        "_rejects.pyx",
        "tests/unit/test_rejects.py tests/server/test_rejects.py tests/unit/test_drain.py",
        ("rejects are not counted", "        self.count(reason)\n", ""),
        ("rejects without a note are not counted as such", "            self.not_noted += 1\n", "            pass\n"),
        ("notes are taken twice", "        self.note_count = 0\n        return found", "        return found"),
        ("one note too many", "elif self.note_count == NOTES_MAX:", "elif self.note_count > NOTES_MAX:"),
        ("one sender takes all notes", "notes - notes // 4, bytes - bytes // 4", "notes, bytes"),
    ),
    *_of(
        "_drain.pyx",
        "tests/unit/test_drain.py tests/unit/test_duplicates.py tests/unit/test_faults.py tests/server/test_serve.py",
        (
            "notes point into an arena that is used again",
            "            if self.rejects.note_count:  # they point into the arena\n                return FULL\n",
            "",
        ),
        (
            "a drain has no end",
            "            if self.took_all:\n",
            "            if scanned > DRAIN_BYTES:\n                scanned = 0\n            if self.took_all:\n",
        ),
        ("strangers are admitted", "if not self.admission.admits(&self.arena.senders[self.here.slot]):", "if False:"),
        ("datagrams without their ends are scanned", " or self.arena.is_unclear(self.here.slot):", ":"),
        ("datagrams are not counted", "            self.counted.datagrams += 1\n", ""),
        (
            "a duplicate is stored again",
            "if not is_priority or self.is_new(piece, line, size):",
            "if not is_priority or self.is_new(piece, line, size) or True:",
        ),
        (
            "a duplicate gets no ACK",
            "            before.seen_ms = self.now_ms\n            self.counted.duplicates += 1\n",
            "            self.counted.duplicates += 1\n            return False\n",
        ),
        ("duplicates are not counted", "            self.counted.duplicates += 1\n", ""),
        ("events of two senders are one", "        if has_timestamp(piece):\n", "        if True:\n"),
        (
            "an event without a timestamp is a retransmission for ever",
            "self.now_ms - before.seen_ms > RETRANSMIT_MS",
            "False",
        ),
        (
            "entries without a timestamp are remembered over a restart",
            "and piece.has_sequence and has_timestamp(&piece):",
            "and piece.has_sequence:",
        ),
        (
            "a line with something behind its entry is remembered",
            " and piece.reason == ACCEPTED and piece.end == feed:",
            " and piece.reason == ACCEPTED:",
        ),
        (
            "priority entries are discarded like others",
            "if is_priority or not self.lines.discards:",
            "if not self.lines.discards:",
        ),
        ("discarded entries are not counted", "            self.lines.discarded += 1\n", ""),
        ("forgotten entries are acknowledged", "        self.acks.forget(first, count)\n", ""),
        ("forgotten entries are duplicates", "        self.stored.forget(first, count)\n", ""),
        ("a datagram that is too long is scanned", "if size < <size_t>(end - start) or self", "if self"),
        ("datagrams that cannot be told apart are scanned", " or self.arena.is_unclear(self.here.slot):", ":"),
    ),
    *_of(
        "_lines.pyx",
        "tests/unit/test_faults.py tests/unit/test_held.py",
        ("a line at the cut is forgotten", "if self.priority[i].offset >= size:", "if self.priority[i].offset > size:"),
        (
            "lines do not move up",
            "PriorityLine(self.priority[i].offset - size,",
            "PriorityLine(self.priority[i].offset,",
        ),
        (
            "a line at the cut counts as written",
            "and self.priority[count].offset < size:",
            "and self.priority[count].offset <= size:",
        ),
        ("lines taken out are still counted", "        self.entries -= self.priority_count\n", ""),
    ),
    *_of(
        "_duplicates.pyx",
        "tests/unit/test_duplicates.py tests/unit/test_faults.py",
        (
            "a removed hash hides others",
            "                self.places[gap] = self.places[at]\n                gap = at\n",
            "                pass\n",
        ),
        (
            "forgotten entries stay",
            "            self.remove(&self.entries[number % STORED_MAX])\n",
            "            pass\n",
        ),
        (
            "one entry too few is forgotten",
            "for number in range(first, min(first + count, self.added)):",
            "for number in range(first, min(first + count, self.added) - 1):",
        ),
        ("the oldest hash stays", "        self.remove(entry)  # the oldest", "        # the oldest"),
        (
            "an entry that comes again is there twice",
            "            if same != NULL:\n                self.remove(same)\n",
            "",
        ),
    ),
    *_of(
        "_socket.pyx",
        "tests/unit/test_socket.py tests/server/test_socket.py tests/unit/test_faults.py",
        (
            "an ACK that the socket does not take is not counted",
            "                self.dropped += self.count - done\n",
            "",
        ),
        (
            "an address that cannot be reached ends the sending",
            "                self.dropped += 1\n                done += 1\n",
            "                break\n",
        ),
        (
            "ACKs beyond the limit are not counted",
            "            self.dropped += 1\n            return\n",
            "            return\n",
        ),
        ("ACKs that change hands stay", "        others.count = 0\n", ""),
        ("the mask of a network is ignored", "key.low & network.low_mask == network.low", "True"),
        ("forgotten ACKs are not counted", "        self.dropped += self.count - kept\n", ""),
        (
            "one ACK too many is forgotten",
            "if self.owed[i].number - first >= count:",
            "if self.owed[i].number - first > count:",
        ),
        ("coalesced datagrams are one", "return size if size > 0 else 0", "return 0"),
        (
            "only the first control message is read",
            "        header = CMSG_NXTHDR(message, header)\n",
            "        break\n",
        ),
    ),
    *_of(
        "_ledger.pyx",
        "tests/unit/test_ledger.py tests/server/test_gaps.py",
        (
            "a repetition counts as a gap filled",
            "        if filled == NOTHING:\n            self.repeated += 1\n        elif filled == GAP:\n",
            "        if True:\n",
        ),
        ("a window is one longer", "run.newest - sequence < WINDOW", "run.newest - sequence <= WINDOW"),
        (
            "late sequences are not counted",
            "        self.late += record.other.arrived\n        at.state &= ~<uint32_t>ASIDE",
            "        at.state &= ~<uint32_t>ASIDE",
        ),
        ("restarts are not counted", "        self.restarts += 1\n", ""),
        (
            "a wrap-around of sequences counts on",
            "sequence - at.newest == 1 and sequence != 0",
            "sequence - at.newest == 1",
        ),
        (
            "a sender's missing sequences leave with it",
            "            self.lose(at, record, record.run.missing)\n        remove",
            "        remove",
        ),
        (
            "the farthest sequence in reach is set aside",
            "sequence - run.newest <= WINDOW:",
            "sequence - run.newest < WINDOW:",
        ),
        ("a jump has no limit", "ahead <= JUMP_MAX and", "True and"),
    ),
    *_of(
        "snapshot.py",
        "tests/server/test_survival.py tests/server/test_faulty_disk.py tests/server/test_full_disk.py tests/server/test_dashboard.py tests/server/test_serve.py",
        ("a disk that refuses degrades nothing", "        if self._writer.failure:\n", "        if False:\n"),
        ("a rotation that fails degrades nothing", "        if self._log.rotation_failure:\n", "        if False:\n"),
        (
            "dropped datagrams degrade nothing",
            "if since_drop is not None and since_drop < DROPS_ALARM_SEC:",
            "if False:",
        ),
        ("drops before the start count as lost in the network", "(drops - self._dropped_before)", "drops"),
        ("entries lost to the disk are not shown", "            disk=self._writer.lost,\n", "            disk=0,\n"),
        (
            "a sync that hangs degrades nothing",
            "if under_way_sec is not None and under_way_sec >= SYNC_ALARM_SEC:",
            "if False:",
        ),
    ),
    *_of(
        "server.py",
        "tests/server/test_survival.py tests/server/test_faulty_disk.py tests/server/test_serve.py",
        ("the exit code hides what was lost", "return 0 if is_well else 1", "return 0"),
    ),
    *_of(
        "ending.py",
        "tests/server/test_survival.py tests/server/test_faulty_disk.py tests/server/test_serve.py",
        (
            "the end waits for a sync for ever",
            "self._storage.give_up_at = 0.0 if self._is_hurried else at",
            "self._storage.give_up_at = math.inf",
        ),
        (
            "another signal at the end hurries nothing",
            "        self._is_hurried = True\n        self._storage.give_up_at = 0.0\n",
            "        pass\n",
        ),
        (
            "a disk that does not answer at the end is well",
            'acknowledgements were not sent")\n',
            'acknowledgements were not sent")\n            return True\n',
        ),
    ),
    *_of(
        "connections.py",
        "tests/server/test_dashboard.py",
        ("connections take the log's descriptors", "return max(0, raised - DESCRIPTORS_KEPT)", "return raised"),
    ),
]
