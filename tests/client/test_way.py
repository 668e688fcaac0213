"""The way to the server, on real networks: addresses and routes that change, servers that refuse or are silent, and a
system that has no descriptors, threads or answers to give."""

import json
import socket
import threading
from collections import Counter

import pytest

from fastlog import Client
from fastlog.client import lookup, route
from tests.helpers.running import FASTLOG, PATIENCE_SEC, Server, eventually, run_python
from tests.helpers.two_hosts import CABLE, BehindARouter, Program, TwoHosts, needs_two_hosts

SOON_SEC = 8  # a generous bound for what happens within about a second


@pytest.fixture
def two_hosts(closing):
    return closing(TwoHosts())


@pytest.fixture
def far_server(two_hosts, closing, tmp_path):
    """Starts a server on the other host, in a directory of its own each time."""

    def start_there(host: str = "0.0.0.0", **settings: str) -> Server:
        command = [*two_hosts.inside, *FASTLOG, "serve"]
        return closing(Server(tmp_path, host, command=command, **settings))

    return start_there


@pytest.fixture
def program(two_hosts, closing):
    """Runs a program on the client's host."""
    return lambda text, *arguments: closing(Program(two_hosts.inside_client, text, *arguments))


def stored(server: Server) -> Counter:
    return Counter(json.loads(line)["message"] for line in server.whole_log().splitlines())


# The machine's network changes

CHANGES = {
    "another address": ("10.9.0.1", "addr del 10.9.0.9/24 dev {0}", "addr add 10.9.0.10/24 dev {0}"),
    "another IPv6 address": ("fd09::1", "addr del fd09::9/64 dev {0}", "addr add fd09::a/64 dev {0} nodad"),
    "no interface": ("10.9.0.1", "link set {0} down", "link set {0} up"),
    "no route": ("10.9.0.1", "route del 10.9.0.0/24 dev {0}", "route add 10.9.0.0/24 dev {0}"),
    "a firewall": ("10.9.0.1", "route add prohibit 10.9.0.1", "route del prohibit 10.9.0.1"),
    "an unreachable host": ("10.9.0.1", "route add unreachable 10.9.0.1", "route del unreachable 10.9.0.1"),
    "a blackhole": ("10.9.0.1", "route add blackhole 10.9.0.1", "route del blackhole 10.9.0.1"),
}
THROUGH_A_CHANGE = """
address, port, broken, mended = sys.argv[1:]
client = Client(address, port)
client.send("ERROR", "before")
assert client.flush(20)
ip(*broken.split())
for number in range(100):
    client.send("INFO", f"info {number}")
    client.send("ERROR", f"error {number}")
    client.flush(0.005)
eventually(lambda: client.stats().problem)
problem = client.stats().problem
time.sleep(0)
ip(*mended.split())
began = time.monotonic()
assert client.flush(20)
took = time.monotonic() - began
stats = client.stats()
client.send("INFO", "after")
client.close()
print(json.dumps([took, problem, stats.problem, stats.lost, stats.given_up, sum(stats.dropped.values())]))
"""
ALL = {"before", "after", *(f"{kind} {number}" for kind in ("info", "error") for number in range(100))}


@needs_two_hosts
@pytest.mark.parametrize("change", CHANGES)
def test_a_client_gets_over_a_change_of_the_network_and_loses_nothing(far_server, program, change):
    address, broken, mended = (text.format(CABLE) for text in CHANGES[change])
    server = far_server("::" if ":" in address else "0.0.0.0")
    took, problem, *rest = program(THROUGH_A_CHANGE, address, server.port, broken, mended).ends()
    assert took < SOON_SEC
    assert f"{address} port {server.port}/udp" in problem
    assert rest == ["", 0, 0, 0]
    server.stop()
    assert stored(server) == Counter(ALL)


ANOTHER_SOURCE = """
import fastlog.client.route
fastlog.client.route.PATH_SEC = 0.1
def sources():
    rows = [row.split() for row in open("/proc/self/net/udp").read().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[2].endswith(":%04X" % int(sys.argv[1]))}
client = Client("10.9.0.1", sys.argv[1])
client.send("INFO", "before")
assert client.flush(20)
assert sources() == {"0900090A"}
ip("addr", "add", "10.9.0.10/24", "dev", "cable0")
ip("route", "add", "10.9.0.1", "dev", "cable0", "src", "10.9.0.10")
sent = []
eventually(lambda: sent.append(client.send("INFO", "meanwhile")) or sources() == {"0A00090A"})
client.close()
print(json.dumps([len(sent), client.stats().lost]))
"""


@needs_two_hosts
def test_another_source_address_is_used_once_the_route_wants_it(far_server, program):
    """As with a VPN that begins: nothing fails, and no entry waits for an ACK. Only the client can notice."""
    server = far_server()
    sent, lost = program(ANOTHER_SOURCE, server.port).ends()
    assert lost == 0
    server.stop()
    assert stored(server) == Counter({"before": 1, "meanwhile": sent})


@needs_two_hosts
def test_a_server_on_this_machine_whose_address_moves_is_followed(far_server, two_hosts, closing):
    """The client runs on the server's host, and sends to an address that comes and goes."""
    server = far_server()
    two_hosts.add_address("10.8.0.1/32")
    changes = (f"addr {change} 10.8.0.1/32 dev {CABLE}" for change in ("del", "add"))
    took, _, *rest = closing(Program(two_hosts.inside, THROUGH_A_CHANGE, "10.8.0.1", server.port, *changes)).ends()
    assert took < SOON_SEC
    assert rest == ["", 0, 0, 0]
    server.stop()
    assert stored(server) == Counter(ALL)


THROUGH_A_NARROW_WAY = """
client = Client(sys.argv[1], sys.argv[2])
client.send("ERROR", "before")
assert client.flush(20)
for number in range(500):
    client.send("INFO", f"info {number}", filling="x" * 100)
    client.send("ERROR", f"error {number}", filling="x" * 100)
    if number == 0: client.flush(20)
assert client.flush(20)
stats = client.stats()
client.close()
print(json.dumps([stats.refused, stats.problem, stats.lost_entries]))
"""


@needs_two_hosts
def test_the_size_of_datagrams_follows_what_a_router_reports(closing, tmp_path):
    """The way gets narrower behind the first router. The first datagram that is too large is lost, and no other."""
    network = closing(BehindARouter())
    server = closing(Server(tmp_path, "0.0.0.0", command=[*network.inside_beyond, *FASTLOG, "serve"]))
    program = closing(Program(network.inside_client, THROUGH_A_NARROW_WAY, network.BEYOND, server.port))
    refused, problem, lost = program.ends()
    assert (refused, problem) == (0, "")
    server.stop()
    found = stored(server)
    assert all(found[f"error {number}"] == 1 for number in range(500))
    assert 0 < sum(not found[f"info {number}"] for number in range(500)) <= lost


# Servers that refuse, and servers that are silent

MANY_CLIENTS = """
number, address, port = int(sys.argv[1]), *sys.argv[2:]
clients = [Client(address, port, app=str(n)) for n in range(number)]
for turn in range(600):
    for client in clients:
        client.send("INFO", f"{clients.index(client)} info {turn}")
        if turn % 20 == 0: client.send("ERROR", f"{clients.index(client)} error {turn}")
    time.sleep(0.005)
step()
assert all([client.flush(20) for client in clients])
stats = [client.stats() for client in clients]
for client in clients: client.close()
print(json.dumps([sum(each.lost_entries for each in stats), sum(each.acknowledged for each in stats),
                  sorted({each.problem for each in stats}), min(each.refused for each in stats)]))
"""


@needs_two_hosts
@pytest.mark.parametrize("number", [1, 8])
def test_the_entries_of_many_clients_of_a_machine_wait_for_a_server_on_another(far_server, program, number):
    """The server's machine refuses once a second, however many clients ask."""
    port = 5514
    running = program(MANY_CLIENTS, number, "10.9.0.1", port)
    running.reaches_step()
    server = far_server(SERVER_PORT=str(port))
    running.goes_on()
    lost, acknowledged, problems, refused = running.ends()
    assert (acknowledged, problems) == (30 * number, [""])
    assert refused > 0
    server.stop()
    found = stored(server)
    assert set(found.values()) == {1}
    assert sum(" error " in message for message in found) == 30 * number
    missing = 600 * number - sum(" info " in message for message in found)
    assert missing <= min(lost, 30 * number)


ORDINARY_ONLY = """
client = Client("10.9.0.1", sys.argv[1])
for number in range(100):
    client.send("INFO", f"before {number}")
assert client.flush(20)
step()
eventually(lambda: client.send("INFO", "into the void") or client.stats().refused)
for number in range(100):
    client.send("INFO", f"during {number}")
problem = client.stats().problem
step()
assert client.flush(20)
print(json.dumps([problem, client.stats().problem, client.stats().lost_entries]))
client.close()
"""


@needs_two_hosts
def test_ordinary_entries_wait_for_a_server_on_another_machine_without_any_acks(far_server, program):
    server = far_server()
    running = program(ORDINARY_ONLY, server.port)
    running.reaches_step()
    server.stop()
    running.goes_on()
    running.reaches_step()
    server = far_server(SERVER_PORT=str(server.port))
    running.goes_on()
    problem, problem_later, lost = running.ends()
    assert (problem, problem_later) == (f"nothing listens on 10.9.0.1 port {server.port}/udp (refused)", "")
    server.stop()
    found = stored(server)
    assert all(found[f"{when} {number}"] == 1 for when in ("before", "during") for number in range(100))
    assert 0 < lost <= 100 + PATIENCE_SEC * 1000


def silent_socket(closing, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """It takes everything and answers nothing."""
    silent = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    silent.bind((host, port))
    return silent


def test_another_address_of_the_name_is_tried_while_the_first_is_silent(start, closing, monkeypatch):
    server = start()
    silent = silent_socket(closing)
    addresses = [(socket.AF_INET, silent.getsockname()), (socket.AF_INET, ("127.0.0.1", server.port))]
    monkeypatch.setattr(lookup, "is_numeric", lambda _: True)
    monkeypatch.setattr(lookup, "resolve", lambda *_: addresses)
    monkeypatch.setattr(route, "QUIET_SEC", 0.5)
    several = closing(Client("several.example", 5514))
    several.send("ERROR", "m")
    assert several.flush(PATIENCE_SEC)
    assert several.stats().problem == ""
    server.stop()
    assert stored(server) == Counter(["m"])


class ForgetfulTranslator:
    """A translator of addresses: it passes datagrams on to a server, and ACKs back. After `forget` it knows none of the
    ports that it knew before, and drops what comes from them."""

    def __init__(self, server_port: int) -> None:
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._server = ("127.0.0.1", server_port)
        self._known: dict[tuple, socket.socket] = {}
        self._forgotten: set[tuple] = set()
        self._is_closed = False
        self.port = self._front.getsockname()[1]
        self._threads = [threading.Thread(target=self._forward)]
        self._threads[0].start()

    @property
    def ports(self) -> int:
        return len(self._known) + len(self._forgotten)

    def forget(self) -> None:
        self._forgotten |= self._known.keys()

    def close(self) -> None:
        self._is_closed = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        for back in self._known.values():
            back.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SEC)
        for each in (self._front, *self._known.values()):
            each.close()

    def _forward(self) -> None:
        while True:
            datagram, client = self._front.recvfrom(1 << 16)
            if self._is_closed:
                return
            if client in self._forgotten:
                continue
            if client not in self._known:
                back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                back.connect(self._server)
                self._known[client] = back
                self._threads.append(threading.Thread(target=self._answer, args=(back, client)))
                self._threads[-1].start()
            self._known[client].send(datagram)

    def _answer(self, back: socket.socket, client: tuple) -> None:
        while answer := back.recv(1 << 16):
            if client not in self._forgotten:
                self._front.sendto(answer, client)


def test_a_port_that_a_translator_of_addresses_has_forgotten_is_left(start, closing, monkeypatch):
    """And the server's account stays exact: the new port is a new sender, of which nothing is missing."""
    monkeypatch.setattr(route, "QUIET_SEC", 0.5)
    server = start()
    translator = closing(ForgetfulTranslator(server.port))
    through = closing(Client("127.0.0.1", translator.port))
    for number in range(100):
        through.send("ERROR", f"before {number}")
    assert through.flush(PATIENCE_SEC)
    translator.forget()
    for number in range(100):
        through.send("ERROR", f"after {number}")
    assert through.flush(PATIENCE_SEC)
    assert through.stats().problem == ""
    account = server.stats()
    assert (account["stored"], account["losses"]["sequence_gaps"]) == (200, 0)
    assert len(account["top_senders"]) == 2


def test_silence_is_told(closing):
    silent = silent_socket(closing)
    port = silent.getsockname()[1]
    hopeful = Client("127.0.0.1", port)
    hopeful.send("ERROR", "m")
    stats = eventually(hopeful.stats, lambda stats: stats.problem)
    assert stats.problem == f"127.0.0.1 port {port}/udp does not answer"
    hopeful.close(0)


def test_a_flood_of_answers_holds_up_nothing(closing):
    """ACKs of what was never sent, and no ACKs at all, faster than anybody reads them."""
    server = silent_socket(closing)
    server.settimeout(PATIENCE_SEC)
    flooded = Client("127.0.0.1", server.getsockname()[1])
    flooded.send("ERROR", "first")
    _, address = server.recvfrom(1 << 16)
    is_over = threading.Event()

    def flood() -> None:
        answers = [b'{"ack":true,"sequence":%d}' % number for number in range(50)] + [b"x" * 1000, b""]
        while not is_over.is_set():
            for answer in answers:
                server.sendto(answer, address)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for number in range(20):
            flooded.send("ERROR", f"late {number}")
            while b'"late %d"' % number not in server.recv(1 << 16):
                pass
        assert flooded.stats().acknowledged == 0
    finally:
        is_over.set()
        thread.join()
        flooded.close(0)


# Systems without something

WITHOUT = {
    # seccomp: the system call `socket` fails with EAFNOSUPPORT for AF_NETLINK
    "AF_NETLINK": """
import ctypes, platform, struct
call = {"x86_64": 41, "aarch64": 198}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, call), (0x20, 0, 0, 16), (0x15, 0, 1, socket.AF_NETLINK),
         (0x06, 0, 0, 0x00050000 | 97), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
rules = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(rules), 0, 0) == 0, ctypes.get_errno()
try: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
except OSError: pass
else: raise AssertionError
""",
    "answers of the kernel": """
import fastlog.client.sock_diag as sock_diag
sock_diag.NETLINK_SOCK_DIAG = 19  # another protocol of the kernel
""",
    "sockets that a guard of tests allows": """
plain = socket.socket
class Guarded(plain):
    def __init__(self, family=-1, *arguments, **named):
        if family == socket.AF_NETLINK: raise RuntimeError("not in a test")
        super().__init__(family, *arguments, **named)
socket.socket = Guarded
""",
}
SEND_SOME = """
client = Client("127.0.0.1", sys.argv[1])
for number in range(1000):
    client.send("ERROR" if number % 10 == 0 else "INFO", str(number))
assert client.flush(20)
stats = client.stats()
assert (stats.problem, stats.acknowledged, stats.lost) == ("", 100, 0), stats
"""


@pytest.mark.parametrize("what", WITHOUT)
def test_a_client_works_without_the_kernels_answers_about_a_receive_buffer(start, what):
    server = start()
    run_python("import socket, sys\nfrom fastlog import Client\n" + WITHOUT[what] + SEND_SOME, server.port)
    server.stop()
    assert stored(server) == Counter(str(number) for number in range(1000))


def test_no_descriptor_for_a_moment_is_a_delay_that_is_told(start):
    server = start()
    program = """
import os, resource, socket, sys, time
from fastlog import Client
client = Client(sys.argv[2], sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))
held = []
try:
    while True: held.append(os.dup(0))
except OSError: pass
client.send("ERROR", "in the worst moment")
until = time.monotonic() + 20
while not client.stats().problem:
    assert time.monotonic() < until
    time.sleep(0.003)
for fd in held: os.close(fd)
for number in range(1000): client.send("ERROR", str(number))
began = time.monotonic()
assert client.flush(20)
assert time.monotonic() - began < 8
stats = client.stats()
assert (stats.acknowledged, stats.dropped) == (1001, {}), stats
"""
    for host in ("127.0.0.1", "localhost"):
        run_python(program, server.port, host)


# Look-ups


@pytest.mark.parametrize("error", [RuntimeError("a guard"), MemoryError(), LookupError("unknown encoding: idna"),
                                   OSError(24, "Too many open files"), UnicodeError("label too long")])  # fmt: skip
def test_whatever_a_look_up_raises_is_a_delay(start, closing, monkeypatch, error):
    server = start()
    addresses = [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("127.0.0.1", server.port))]
    errors = [error]

    def find(name, *_, **__):
        if errors and not is_numeric(name):
            raise errors.pop()
        return addresses

    def is_numeric(name: bytes) -> bool:
        return name != b"name.example"

    monkeypatch.setattr(lookup, "is_numeric", lambda _: False)
    monkeypatch.setattr(socket, "getaddrinfo", find)
    unlucky = closing(Client("name.example", server.port))
    unlucky.send("ERROR", "m")
    assert unlucky.flush(PATIENCE_SEC)
    assert errors == []
    assert unlucky.stats().problem == ""


def test_a_look_up_that_hangs_keeps_one_thread_and_the_old_addresses_stay_in_use(start, closing, monkeypatch):
    server = start()
    goes_on = threading.Event()
    calls = []

    def find(*_):
        calls.append(threading.get_ident())
        if len(calls) > 1:
            goes_on.wait(PATIENCE_SEC)
        return [(socket.AF_INET, ("127.0.0.1", server.port))]

    monkeypatch.setattr(lookup, "is_numeric", lambda _: False)
    monkeypatch.setattr(lookup, "resolve", find)
    monkeypatch.setattr(lookup, "INTERVAL_SEC", 0.0)
    patient = closing(Client("name.example", server.port))
    try:
        for number in range(20):
            patient.send("ERROR", str(number))
            assert patient.flush(PATIENCE_SEC)
        assert len(calls) == 2
    finally:
        goes_on.set()


def test_no_thread_for_a_look_up_is_a_delay_once_an_address_is_known(monkeypatch):
    found = [(socket.AF_INET, ("127.0.0.1", 5514))]
    monkeypatch.setattr(lookup, "is_numeric", lambda _: False)
    monkeypatch.setattr(lookup, "resolve", lambda *_: found)
    monkeypatch.setattr(lookup, "start", lambda _: False)
    resolver = lookup.Resolver("name.example", 5514, lambda: None)
    assert resolver.refresh(0.0, False)
    assert resolver.addresses == found
    with pytest.raises(lookup.AddressError, match="no more threads"):
        resolver.refresh(lookup.INTERVAL_SEC, False)
    assert resolver.addresses == found
    assert resolver.next_at(False) == lookup.INTERVAL_SEC + lookup.FAILED_FIRST_SEC


def test_a_name_with_very_many_addresses_is_no_burden(monkeypatch):
    many = [(socket.AF_INET, (f"10.0.{n >> 8}.{n & 255}", 5514)) for n in range(5000)]
    monkeypatch.setattr(lookup, "is_numeric", lambda _: True)
    monkeypatch.setattr(lookup, "resolve", lambda *_: many + many)
    resolver = lookup.Resolver("name.example", 5514, lambda: None)
    assert resolver.refresh(0.0, False)
    assert resolver.addresses == many[: lookup.ADDRESSES_MAX]
