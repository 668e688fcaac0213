"""The steps of a random run of the client: what programs, the network, the server and the disk do."""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.helpers.client_model_disk import Died
from tests.helpers.client_model_memory import run_out_of_memory
from tests.helpers.client_model_server import KINDS

if TYPE_CHECKING:
    from tests.helpers.client_model import Run

LEVELS = ("DEBUG", "INFO", "INFO", "WARNING", "ERROR", "ERROR", "ERROR", "CRITICAL")
SIZES = (0, 0, 0, 0, 30, 300, 1_000, 2_500, 5_000, 70_000)  # of a field, in bytes; the last does not fit
TIMES = (1, 1, 2, 4)  # another attempt of an operation may succeed


def send(run: "Run") -> None:
    for _ in range(run.rng.choice((1, 1, 2, 3, 6))):
        run.put(run.program)
    if run.rng.random() < 0.8:
        run.work(run.rng.choice((0.0, 0.001, 0.01, 0.1)))


def burst(run: "Run") -> None:
    """More than a window or a lane of some runs, in parts, of one level or of all."""
    levels = run.rng.choice((LEVELS, ("ERROR",), ("INFO",)))
    for _ in range(run.rng.randrange(1, 4)):
        for _ in range(run.rng.choice((10, 30))):
            run.put(run.program, run.rng.choice(levels), 0)
        run.work(run.rng.choice((0.0, 0.001, 0.01)))


def work(run: "Run") -> None:
    run.work(run.rng.choice((0.02, 0.3, 1.0, 3.0)))


def wait(run: "Run") -> None:
    run.work(run.rng.choice((5.0, 15.0, 70.0)))


def wait_long(run: "Run") -> None:
    run.work(400.0)


def freeze(run: "Run") -> None:
    """The program, or the machine, stands still."""
    seconds = run.rng.choice((0.5, 10.0, 400.0))
    if run.rng.random() < 0.5:
        run.clock.skip(seconds)
    else:
        run.clock.sleep(seconds)
    run.work(0.01)


def flush(run: "Run") -> None:
    done = run.program.thread.flush(run.rng.choice((0.0, 0.2, 5.0)))
    run.note(f"        flushed: {done}")


def lose(run: "Run") -> None:
    rng, network = run.rng, run.network
    network.loss_there = rng.choice((0.0, 0.1, 0.5, 1.0))
    network.loss_back = rng.choice((0.0, 0.1, 0.5, 1.0))
    network.repeat = rng.choice((0.0, 0.2))
    network.delay_sec = rng.choice((0.0005, 0.005, 0.3))
    network.jitter_sec = rng.choice((0.0, 0.01, 0.5))
    run.note(f"        loss {network.loss_there} there, {network.loss_back} back")


def forget_ports(run: "Run") -> None:
    """A translator of addresses on the way gives the sockets other ports."""
    for own in run.network.sockets:
        if not own.is_local:
            own.wire = None


def change_address(run: "Run") -> None:
    """This machine gets another address, as a notebook does that moves to another network."""
    run.network.own_address = f"10.9.1.{run.rng.randrange(1, 5)}"


def no_network(run: "Run") -> None:
    rng, network, clock = run.rng, run.network, run.clock
    kind = rng.choice(("way", "sockets", "names", "blocked", "size"))
    run.note(f"        {kind}")
    if kind == "way":
        network.is_unreachable = True
    elif kind == "sockets":
        network.has_sockets = False
    elif kind == "names":
        network.has_names = False
    elif kind == "blocked":
        network.blocked_until = clock.now + rng.choice((0.05, 3.0))
        clock.at(network.blocked_until, lambda: None)
    else:
        network.largest = rng.choice((300, 1_472, 9_000))
    run.work(rng.choice((0.0, 0.1, 2.0)))


def heal_network(run: "Run") -> None:
    run.network.heal()


def server_dies(run: "Run") -> None:
    run.lose_waiting()
    run.server.kill()


def server_starts(run: "Run") -> None:
    """At the same place or another, with its log or without it, and with these settings or others."""
    rng = run.rng
    kind = 0 if rng.random() < 0.7 else rng.randrange(len(KINDS))
    host = rng.choice(run.hosts)
    run.lose_waiting()
    run.server.start(host, kind, has_memory=rng.random() < 0.7)
    if rng.random() < 0.7:
        run.network.names = [host] if rng.random() < 0.7 else list(dict.fromkeys((rng.choice(run.hosts), host)))
    run.note(f"        at {host}, {KINDS[kind]}; the name has {run.network.names}")


def server_stops(run: "Run") -> None:
    run.server.is_stopped = True


def server_continues(run: "Run") -> None:
    run.server.is_stopped = False
    run.network.run_server()


def disk_fails(run: "Run") -> None:
    faults, rng = run.disk.faults, run.rng
    kind = rng.choice(("room", "room", "write", "create", "open", "read", "truncate", "unlink"))
    if kind == "room":
        faults.room = rng.choice((0, 0, 50, 150, 400, 1_000))
    else:
        number = rng.choice((errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE, errno.EROFS))
        faults.operations[kind] = [number, rng.choice(TIMES)]
    run.note(f"        {kind}")


def disk_heals(run: "Run") -> None:
    run.disk.faults.heal()
    run.spills.bring()


def take_directory(run: "Run") -> None:
    run.spills.take()


def close(run: "Run") -> None:
    done = run.program.thread.close(run.rng.choice((0.0, 2.0)))
    run.note(f"        closed: {done}")
    run.program.ends()
    run.ended()


def end(run: "Run") -> None:
    try:
        run.program.exit()
        for _ in range(run.rng.randrange(3)):
            run.put(run.program)
    finally:
        run.program.no_end()
    run.program.exited()
    run.ended()


def kill(run: "Run") -> None:
    """At once, or in the middle of an operation on a file."""
    if run.rng.random() < 0.5:
        raise Died
    run.disk.dies_at = run.disk.operations + run.rng.choice((1, 1, 2, 3, 5))


def fork(run: "Run") -> None:
    """The program forks, and ends; its child continues. To the client, the whole process is another one then."""
    parent, programs = run.program, run.oracle.programs
    if sum(program.is_alive for program in programs) == 1:
        run.oracle.killed(parent)
        run.program = run.disk.owner = parent.fork(len(programs))
        programs.append(run.program)
        run.program.begin_anew(is_seen=run.rng.random() < 0.5)
        run.note(f"        {run.program.pid}")


def start_another(run: "Run") -> None:
    run.start_another()


def choose_program(run: "Run") -> None:
    run.program = run.rng.choice([program for program in run.oracle.programs if program.is_alive])


def fail(run: "Run") -> None:
    """Memory runs out in the middle of a turn."""
    run_out_of_memory(run, run.rng.choice((1, 2, 3, 5, 9, 20, 40, 80)))


def close_descriptors(run: "Run") -> None:
    run.program.close_descriptors(run.rig.base / "victim")


# What each step is called, and how often it comes.
CHANCES: dict[Callable[["Run"], None], int] = {
    send: 34,
    burst: 4,
    work: 12,
    wait: 6,
    wait_long: 1,
    freeze: 2,
    flush: 2,
    lose: 7,
    forget_ports: 1,
    change_address: 1,
    no_network: 5,
    heal_network: 6,
    server_dies: 6,
    server_starts: 9,
    server_stops: 3,
    server_continues: 5,
    disk_fails: 5,
    disk_heals: 5,
    take_directory: 2,
    close: 2,
    end: 2,
    kill: 3,
    fork: 2,
    start_another: 2,
    choose_program: 3,
    fail: 3,
    close_descriptors: 1,
}
STEPS, WEIGHTS = list(CHANCES), list(CHANCES.values())
