"""`fastlog tail` and `count` where some files of the log cannot be read: the rest is shown, and it is said which and why."""

import grp
import json
import os
import struct
import subprocess

import pytest

from tests.helpers.archives import compressed
from tests.helpers.entries import INFO, entries, lines
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, run_fastlog

# What makes root a user who may not read everything.
AS_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
ALL = ["--log-dir", ".", "--json", "-n", "all"]
FILES = 4
LINES = 50  # of a file


@pytest.fixture
def log(tmp_path):
    """A log in four files, the second and the third of which are compressed; returns the lines of each, the oldest
    first."""
    parts = [entries(LINES * FILES)[at : at + LINES] for at in range(0, LINES * FILES, LINES)]
    for number, part in enumerate(reversed(parts)):
        path = tmp_path / (f"server.log.{number}" if number else "server.log")
        path.write_bytes(lines(part))
        os.utime(path, (1_800_000_000 - number,) * 2)
        if number in (1, 2):
            compressed(path)
            path.unlink()
    return parts


def run(directory, *arguments: str, before=()) -> tuple[int, list[bytes], str]:
    """The exit code, what is shown, and what is said."""
    done = subprocess.run(
        [*before, *FASTLOG, *arguments],
        cwd=directory, env=BASE_ENVIRONMENT, capture_output=True, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines(), done.stderr.decode()


def joined(parts: list[list[bytes]]) -> list[bytes]:
    return [line for part in parts for line in part]


DENIED = "Permission denied (root may read it)"

# The parts of an ACL (linux/posix_acl_xattr.h), and the number of whom it does not name.
USER_OBJ, GROUP_OBJ, GROUP, MASK, OTHER, NOBODY = 0x01, 0x04, 0x08, 0x10, 0x20, 2**32 - 1


def set_acl(path, rights: list[tuple[int, int, int]]) -> None:
    """Sets the rights: of which part, which, and of whom."""
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *right) for right in rights)
    os.setxattr(path, "system.posix_acl_access", acl)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["server.log.3"], {0}),
        (["server.log.2.zst"], {1}),
        (["server.log.1.zst", "server.log.3"], {0, 2}),
        (["server.log"], {3}),
    ],
)
def test_files_that_may_not_be_read_are_named_and_the_rest_is_shown(log, tmp_path, names, missing):
    for name in names:
        (tmp_path / name).chmod(0)
    rest = joined([part for number, part in enumerate(log) if number not in missing])
    said = f"fastlog: cannot read {', '.join(sorted(names, reverse=True))}: {DENIED}\n"
    assert run(tmp_path, "tail", *ALL, before=AS_USER) == (2, rest, said)
    code, [shown], said_by_count = run(tmp_path, "count", "--log-dir", ".", "--json", before=AS_USER)
    assert (code, json.loads(shown)["total"], said_by_count) == (2, len(rest), said)


def test_a_group_that_may_read_is_named(log, tmp_path):
    """The owner of a file has the owner's rights alone, so here root is a user outside the group."""
    may_read = f"Permission denied (root and the group {grp.getgrgid(tmp_path.stat().st_gid).gr_name} may read it)"
    (tmp_path / "server.log").chmod(0o040)
    assert run(tmp_path, "tail", *ALL, before=AS_USER)[2] == f"fastlog: cannot read server.log: {may_read}\n"
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs").chmod(0o050)
    code, shown, said = run(tmp_path, "tail", "--log-dir", "logs", before=AS_USER)
    assert (code, shown, said) == (1, [], f"fastlog: cannot read logs: {may_read}\n")


def test_a_file_that_is_not_needed_need_not_be_readable(log, tmp_path):
    (tmp_path / "server.log.3").chmod(0)
    (tmp_path / "server.log.2.zst").chmod(0)
    assert run(tmp_path, "tail", *ALL[:-1], "60", before=AS_USER) == (0, joined(log)[-60:], "")


def test_following_begins_though_an_archive_cannot_be_read(log, tmp_path):
    (tmp_path / "server.log.3").chmod(0)
    process = subprocess.Popen(
        [*AS_USER, *FASTLOG, "tail", "-f", *ALL], cwd=tmp_path, env=BASE_ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        for line in joined(log[1:]):
            assert process.stdout.readline() == line + b"\n"
        with (tmp_path / "server.log").open("ab") as file:
            file.write(INFO + b"\n")
        assert process.stdout.readline() == INFO + b"\n"
        process.kill()
        assert process.stderr.read().decode() == f"fastlog: cannot read server.log.3: {DENIED}\n"


def test_more_archives_are_shown_than_there_may_be_descriptors(tmp_path):
    written = entries(300)
    for number in range(100):
        path = tmp_path / (f"server.log.{number}" if number else "server.log")
        path.write_bytes(lines(written[297 - 3 * number :][:3]))
        if number % 2:
            compressed(path)
            path.unlink()
    for limit in (64, 24):
        few = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"]
        assert run(tmp_path, "tail", *ALL, before=few) == (0, written, "")
        assert run(tmp_path, "tail", *ALL[:-1], "250", before=few) == (0, written[-250:], "")
        assert run(tmp_path, "count", "--log-dir", ".", before=few) == (0, [b"300"], "")


def test_a_file_that_is_not_kept_open_is_found_under_its_new_name(tmp_path, monkeypatch):
    from fastlog.logs import log_files

    written = entries(30)
    for number in range(3):
        (tmp_path / f"server.log.{number + 1}").write_bytes(lines(written[20 - 10 * number :][:10]))
    (tmp_path / "server.log").touch()
    monkeypatch.setattr(log_files, "OTHER_DESCRIPTORS", 1 << 30)
    files = log_files.open_log(tmp_path / "server.log")
    for number in (3, 2, 1):
        (tmp_path / f"server.log.{number}").rename(tmp_path / f"server.log.{number + 1}")
    assert [b"".join(file.pieces()) for file in files] == [lines(written[at : at + 10]) for at in (0, 10, 20)] + [b""]
    (tmp_path / "server.log.2").unlink()
    assert files[2].read(10, 0) == b""
    assert "deleted or compressed meanwhile" in files[2].failure


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--long=31"], "its window is larger than 128 MiB (`zstd -d --long=31` unpacks it)"),
        (["-D", "words"], "it was compressed with a dictionary (`zstd -d -D DICTIONARY` unpacks it)"),
    ],
)
def test_what_zstd_does_not_unpack_is_not_called_damaged(log, tmp_path, options, reason):
    if "-D" in options:
        samples = [str(path) for path in (tmp_path / f"sample{number}" for number in range(300))]
        for number, sample in enumerate(samples):
            with open(sample, "wb") as file:
                file.write(lines(entries(200)[number % 200 :][:5]))
        subprocess.run(["zstd", "-q", "--train", "-o", "words", *samples], cwd=tmp_path, check=True)
    packed = subprocess.run(
        ["zstd", "-q", *options], cwd=tmp_path, input=lines(log[0]), capture_output=True, check=True
    ).stdout
    (tmp_path / "server.log.3").unlink()
    (tmp_path / "server.log.3.zst").write_bytes(packed)
    os.utime(tmp_path / "server.log.3.zst", (1_700_000_000,) * 2)
    said = f"fastlog: cannot read server.log.3.zst: {reason}\n"
    assert run(tmp_path, "tail", *ALL) == (2, joined(log[1:]), said)
    code, [shown], said_by_count = run(tmp_path, "count", "--log-dir", ".")
    assert (code, shown, said_by_count) == (2, b"150", said)


def test_a_window_that_is_read_is_not_larger_than_the_text(log, tmp_path):
    """zstd knows how long a file is, and needs no more memory for it."""
    subprocess.run(["zstd", "-q", "--long=31", "--rm", "server.log.3"], cwd=tmp_path, check=True)
    done = run_fastlog("tail", *ALL, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.encode() == lines(joined(log))


def test_groups_that_may_read_by_an_acl_are_named(log, tmp_path):
    """The directory's own group may only enter it. So it is with the log of the Debian package, which adm may read."""
    names = [grp.getgrgid(number).gr_name for number in (1, 2)]
    (tmp_path / "logs").mkdir()
    rights = [(USER_OBJ, 0, NOBODY), (GROUP_OBJ, 0o1, NOBODY)]
    rights += [(GROUP, 0o5, 1), (GROUP, 0o5, 2), (GROUP, 0o1, 3), (MASK, 0o7, NOBODY), (OTHER, 0, NOBODY)]
    set_acl(tmp_path / "logs", rights)
    _, _, said = run(tmp_path, "tail", "--log-dir", "logs", before=AS_USER)
    may_read = f"root and the groups {names[0]}, {names[1]} may read it"
    assert said == f"fastlog: cannot read logs: Permission denied ({may_read})\n"
    # The mask limits all groups, and nobody else may read it where it names no group that may.
    for without in (MASK, GROUP):
        set_acl(
            tmp_path / "logs",
            [(kind, 0o1, whose) if kind == without else (kind, r, whose) for kind, r, whose in rights],
        )
        _, _, said = run(tmp_path, "tail", "--log-dir", "logs", before=AS_USER)
        assert said == f"fastlog: cannot read logs: {DENIED}\n"
