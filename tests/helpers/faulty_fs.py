"""A file system in memory whose operations fail, hang or take long when a test says so. Only root can mount it.

`FaultyDisk` starts it and tells it what to do. Run as a program, this file is the file system: a process that answers
the kernel's requests over /dev/fuse, and obeys commands on its standard input, one in each line. It unmounts and ends
when its standard input ends. An operation that hangs is carried out once it may continue.

The names of operations are the kernel's, in lower case: `fsync` is a sync of a file, `fsyncdir` one of a directory.
"""

import contextlib
import ctypes
import errno
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = 1  # the kernel's number for the directory that is mounted
REQUEST = struct.Struct("<2I2Q4I")  # size, opcode, unique number, node, and who asks
READ_BYTES = 1 << 20  # more than any request has
WRITE_MAX_BYTES = 1 << 17  # of one request
BLOCK_BYTES = 4096
ENDS_SEC = 10  # longest time to wait for the process; it ends at once
FLAGS = 1 << 5 | 1 << 10 | 1 << 22  # writes larger than a page; locks are asked for; WRITE_MAX_BYTES is obeyed
KEEP_CACHE = 1 << 1  # what the kernel has in memory outlives the descriptors, as on a disk
MNT_DETACH = 2


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "only root can mount a file system"
    return None if os.path.exists("/dev/fuse") else "there is no /dev/fuse"


class FaultyDisk:
    """The file system, mounted on `directory`, which must be empty."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._answer() == "mounted"

    def fail(self, operation: str, number: int, name: str | None = None, *, once: bool = False) -> None:
        """From now on, or once, the operation fails with this errno; with a name, only for what is called so."""
        self._ask("set", operation, {"errno": number, "name": name, "once": once})

    def mend(self, operation: str) -> None:
        """The operation works again, and what hangs is carried out."""
        self._ask("set", operation, None)

    @contextlib.contextmanager
    def hanging(self, operation: str) -> Iterator[None]:
        """Nobody gets an answer meanwhile. A process that waits for one cannot be killed."""
        self._ask("set", operation, {"hang": True})
        try:
            yield
        finally:
            self.mend(operation)

    @contextlib.contextmanager
    def slow(self, operation: str, seconds: float) -> Iterator[None]:
        """Each answer comes so much later; others do not wait for it."""
        self._ask("set", operation, {"delay": seconds})
        try:
            yield
        finally:
            self.mend(operation)

    def calls(self) -> list[list[str]]:
        """The operations so far that change, sync or lock something: each with the name of what it was called for."""
        return self._ask("calls")

    def hung(self) -> int:
        """How many operations hang."""
        return self._ask("hung")

    def content(self, name: str) -> bytes:
        """What a file in the mounted directory holds; it asks the file system itself, so nothing that hangs matters."""
        return self._ask("content", name).encode("latin-1")

    def lose(self, name: str) -> None:
        """The file holds zeros, of which the kernel does not know: what it has in memory never reached the disk."""
        self._ask("lose", name)

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(ENDS_SEC)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def _ask(self, *command):
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        return json.loads(self._process.stdout.readline())


@pytest.fixture
def faulty_disk(tmp_path, closing):
    if reason := _why_not():
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(reason)
        pytest.skip(reason)
    directory = tmp_path / "faulty"
    directory.mkdir()
    return closing(FaultyDisk(directory))


class Node:
    """A file or a directory."""

    def __init__(self, mode: int, name: str) -> None:
        self.mode = mode
        self.name = name  # the last one it had
        self.data = bytearray()
        self.children: dict[str, int] = {}
        self.links = 1


class AnswerError(Exception):
    """The answer is an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Request(NamedTuple):
    opcode: int
    operation: str
    unique: int
    node: int
    body: bytes


class FileSystem:
    """Nodes, and an answer for each operation. Locks are granted to everybody."""

    def __init__(self) -> None:
        self.nodes = {ROOT: Node(stat.S_IFDIR | 0o755, "/")}

    def init(self, node: int, body: bytes) -> bytes:
        major, minor, readahead = struct.unpack_from("<3I", body)
        pages = WRITE_MAX_BYTES // BLOCK_BYTES
        return struct.pack(
            "<4I2H2I2H8I", major, min(minor, 31), readahead, FLAGS, 64, 48, WRITE_MAX_BYTES, 1, pages, 0, *[0] * 8
        )

    def lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._child(node, _names(body)[0]))

    def getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("<Q2I", 0, 0, 0) + self._attributes(node)

    def setattr(self, node: int, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<2I2Q", body)
        if valid & 1 << 3:
            data = self.nodes[node].data
            del data[size:]
            data.extend(bytes(size - len(data)))
        return self.getattr(node, body)

    def create(self, node: int, body: bytes) -> bytes:
        mode = struct.unpack_from("<2I", body)[1]
        return self._entry(self._new(node, mode, _names(body[16:])[0])) + self.open(node, body)

    def mknod(self, node: int, body: bytes) -> bytes:
        return self._entry(self._new(node, struct.unpack_from("<I", body)[0], _names(body[16:])[0]))

    def mkdir(self, node: int, body: bytes) -> bytes:
        mode = struct.unpack_from("<I", body)[0]
        return self._entry(self._new(node, stat.S_IFDIR | mode, _names(body[8:])[0]))

    def open(self, node: int, body: bytes) -> bytes:
        return struct.pack("<Q2I", 0, KEEP_CACHE, 0)

    def read(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<2QI", body)
        return bytes(self.nodes[node].data[offset : offset + size])

    def write(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<2QI", body)
        data = self.nodes[node].data
        data.extend(bytes(max(offset - len(data), 0)))
        data[offset : offset + size] = body[40 : 40 + size]
        return struct.pack("<2I", size, 0)

    def statfs(self, node: int, body: bytes) -> bytes:
        blocks = 1 << 20
        return struct.pack("<5Q4I6I", blocks, blocks, blocks, blocks, blocks, BLOCK_BYTES, 255, BLOCK_BYTES, *[0] * 7)

    def readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<2QI", body)
        found = b""
        for number, (name, child) in enumerate(self.nodes[node].children.items(), 1):
            text = os.fsencode(name)
            kind = stat.S_IFMT(self.nodes[child].mode) >> 12
            entry = struct.pack("<2Q2I", child, number, len(text), kind) + text
            entry += bytes(-len(entry) % 8)
            if number > offset and len(found) + len(entry) <= size:
                found += entry
            elif number > offset:
                break
        return found

    def unlink(self, node: int, body: bytes) -> bytes:
        name = _names(body)[0]
        self.nodes[self._child(node, name)].links = 0
        del self.nodes[node].children[name]
        return b""

    def rename(self, node: int, body: bytes, begin: int = 8) -> bytes:
        directory = struct.unpack_from("<Q", body)[0]
        old, new = _names(body[begin:])
        child = self._child(node, old)
        replaced = self.nodes[directory].children.pop(new, None)
        if replaced:
            self.nodes[replaced].links = 0
        del self.nodes[node].children[old]
        self.nodes[directory].children[new] = child
        self.nodes[child].name = new
        return b""

    def rename2(self, node: int, body: bytes) -> bytes:
        return self.rename(node, body, begin=16)

    def content(self, name: str) -> bytes:
        return bytes(self.nodes[self.nodes[ROOT].children[name]].data)

    def lose(self, name: str) -> None:
        node = self.nodes[self.nodes[ROOT].children[name]]
        node.data = bytearray(len(node.data))

    def nothing(self, node: int, body: bytes) -> bytes:
        return b""

    def _child(self, node: int, name: str) -> int:
        try:
            return self.nodes[node].children[name]
        except KeyError:
            raise AnswerError(errno.ENOENT) from None

    def _new(self, node: int, mode: int, name: str) -> int:
        number = max(self.nodes) + 1  # nodes are never removed, so that open files keep theirs
        self.nodes[number] = Node(mode, name)
        self.nodes[node].children[name] = number
        return number

    def _entry(self, node: int) -> bytes:
        return struct.pack("<4Q2I", node, 0, 0, 0, 0, 0) + self._attributes(node)

    def _attributes(self, number: int) -> bytes:
        node = self.nodes[number]
        size = len(node.data)
        times = [0] * 6
        owner = [0, 0, 0]
        return struct.pack("<6Q10I", number, size, -(-size // 512), *times, node.mode, node.links, *owner, 4096, 0)


# By the kernel's numbers. FORGET (2) and BATCH_FORGET (42) get no answer.
OPERATIONS: dict[int, tuple[str, Callable[[FileSystem, int, bytes], bytes]]] = {
    1: ("lookup", FileSystem.lookup),
    3: ("getattr", FileSystem.getattr),
    4: ("setattr", FileSystem.setattr),
    8: ("mknod", FileSystem.mknod),
    9: ("mkdir", FileSystem.mkdir),
    10: ("unlink", FileSystem.unlink),
    11: ("rmdir", FileSystem.unlink),
    12: ("rename", FileSystem.rename),
    14: ("open", FileSystem.open),
    15: ("read", FileSystem.read),
    16: ("write", FileSystem.write),
    17: ("statfs", FileSystem.statfs),
    18: ("release", FileSystem.nothing),
    20: ("fsync", FileSystem.nothing),
    25: ("flush", FileSystem.nothing),
    26: ("init", FileSystem.init),
    27: ("opendir", FileSystem.open),
    28: ("readdir", FileSystem.readdir),
    29: ("releasedir", FileSystem.nothing),
    30: ("fsyncdir", FileSystem.nothing),
    32: ("flock", FileSystem.nothing),
    33: ("flock", FileSystem.nothing),
    34: ("access", FileSystem.nothing),
    35: ("create", FileSystem.create),
    45: ("rename", FileSystem.rename2),
}
UNANSWERED = {2, 36, 42}
CALLS = {"create", "mkdir", "rename", "unlink", "write", "setattr", "fsync", "fsyncdir", "flock"}


def _names(data: bytes) -> list[str]:
    return [os.fsdecode(name) for name in data.split(b"\0")[:-1]]


class Fuse:
    """Answers requests, each with the fault that is set for its operation. Commands come from another thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._system = FileSystem()
        self._faults: dict[str, dict] = {}
        self._hung: list[Request] = []
        self._calls: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def serve(self) -> None:
        while True:
            try:
                message = os.read(self._fd, READ_BYTES)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                continue  # the request was taken back
            _, opcode, unique, node, *_ = REQUEST.unpack_from(message)
            if opcode in OPERATIONS:
                operation, _ = OPERATIONS[opcode]
                with self._lock:
                    if operation in CALLS:
                        self._calls.append((operation, self._system.nodes[node].name))
                    self._take(Request(opcode, operation, unique, node, message[REQUEST.size :]))
            elif opcode not in UNANSWERED:
                self._reply(unique, errno.ENOSYS)

    def obey(self, command: str, *arguments):
        """Carries out a command; returns its answer."""
        with self._lock:
            if command == "calls":
                return self._calls
            if command == "hung":
                return len(self._hung)
            if command == "content":
                return self._system.content(*arguments).decode("latin-1")
            if command == "lose":
                return self._system.lose(*arguments)
            operation, fault = arguments
            self._faults[operation] = fault or {}
            hung, self._hung = self._hung, []
            for request in hung:
                self._take(request)
        return None

    def _take(self, request: Request) -> None:
        """Answers a request now, later or not at all."""
        fault = self._faults.get(request.operation, {})
        if fault.get("hang"):
            self._hung.append(request)
        elif "delay" in fault:
            threading.Timer(fault["delay"], self._answer, [request, 0]).start()
        elif fault and fault["name"] in (None, self._system.nodes[request.node].name):
            if fault["once"]:
                del self._faults[request.operation]
            self._answer(request, fault["errno"])
        else:
            self._answer(request, 0)

    def _answer(self, request: Request, number: int) -> None:
        data = b""
        if not number:
            try:
                data = OPERATIONS[request.opcode][1](self._system, request.node, request.body)
            except AnswerError as error:
                number = error.number
        self._reply(request.unique, number, data)

    def _reply(self, unique: int, number: int, data: bytes = b"") -> None:
        with contextlib.suppress(FileNotFoundError):  # whoever asked was killed, and takes no answer
            os.write(self._fd, struct.pack("<IiQ", 16 + len(data), -number, unique) + data)


def main(directory: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # of a terminal, to all of its programs: this one ends last
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"faulty", directory.encode(), b"fuse", 0, options):
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    fuse = Fuse(fd)
    threading.Thread(target=fuse.serve, daemon=True).start()
    print(json.dumps("mounted"), flush=True)
    for line in sys.stdin:
        print(json.dumps(fuse.obey(*json.loads(line))), flush=True)
    libc.umount2(directory.encode(), MNT_DETACH)
    os._exit(0)  # closes /dev/fuse, which ends what still hangs


if __name__ == "__main__":
    main(sys.argv[1])
