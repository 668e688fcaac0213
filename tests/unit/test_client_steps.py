"""What random runs of the client have found, step by step: it spun, it was stuck, or an error came out of it."""

import msgspec
import pytest

from fastlog.client.retransmit import Unacknowledged
from tests.helpers.client_model import Rig
from tests.helpers.client_model_memory import run_out_of_memory
from tests.helpers.client_model_network import HERE
from tests.helpers.client_model_server import KINDS

ELSEWHERE = "10.9.0.1"


@pytest.fixture
def live(tmp_path):
    """Runs these steps after each other, in virtual time. A client that spins is found, and one that never delivers."""
    rig = Rig(tmp_path / "model")

    def live(host, *steps, **options):
        run = rig.make_run(0)
        run.hosts = (host,)
        spill = f"{run.spills.path}/s" if options.pop("spill", False) else None
        limits = {"queue_entries": 1000, "queue_bytes": 1 << 20}
        run.options = msgspec.structs.replace(run.options, spill=spill, **(limits | options))
        run.run([(step, seed) for seed, step in enumerate(steps)])

    yield live
    rig.close()


def start_server(run):
    run.server.start(run.hosts[0], 0, has_memory=True)
    run.network.names = list(run.hosts)


def log(run, level="ERROR"):
    run.put(run.program, level, 0)
    run.work(0.01)


def log_info(run):
    log(run, "INFO")


def server_dies(run):
    run.server.kill()


def server_stops(run):
    run.server.is_stopped = True


def way_ends(run):
    run.network.is_unreachable = True


def way_comes_back(run):
    run.network.is_unreachable = False


def slow_answers(run):
    run.network.delay_sec = 0.3


def descriptors_close(run):
    run.program.close_descriptors(run.rig.base / "victim")


def wait(run):
    run.work(30)


def moment(run):
    run.work(run.rng.uniform(0, 6))


def test_descriptors_that_are_closed_while_a_replay_is_under_way(live):
    steps = server_dies, log, log, moment, start_server, server_stops, moment, server_dies
    live(HERE, start_server, log, *steps, *[moment, descriptors_close] * 100, spill=True)


def test_a_socket_that_sends_nothing_more_though_an_ack_still_comes(live):
    live(ELSEWHERE, start_server, log, slow_answers, log, way_ends, log_info, wait, way_comes_back, spill=True)


def fill(run):
    """The receive buffer of a server that is stopped."""
    for _ in range(40):
        run.put(run.program, "ERROR", 2_000)
    run.work(1)


def test_a_stopped_server_that_has_no_room(live):
    live(HERE, start_server, log, server_stops, fill, wait, wait)


def memory_runs_out(run):
    run.put(run.program, "ERROR", 0)
    run_out_of_memory(run, 1)


def test_memory_that_runs_out_before_the_first_turn(live):
    live(HERE, start_server, memory_runs_out, log, spill=True)


def acknowledges_nothing(run):
    run.server.start(run.hosts[0], KINDS.index(((), 65_536)), has_memory=True)


def end_program(run):
    run.program.exit()
    run.program.no_end()
    assert not run.program.held(), run.program.stats
    run.program.exited()
    run.ended()


@pytest.mark.parametrize("spill", [False, True])
def test_the_end_of_a_program_whose_server_does_not_acknowledge_the_level(live, spill):
    live(HERE, acknowledges_nothing, log, log, wait, end_program, spill=spill, give_up_sec=300.0)


def acknowledges_critical(run):
    run.server.start(run.hosts[0], KINDS.index((("CRITICAL",), 65_536)), has_memory=True)


def log_many(run):
    for level in ["ERROR", "CRITICAL", "ERROR"] * 20:
        run.put(run.program, level, 0)
    run.work(0.01)


def test_a_replay_does_not_ask_once_for_each_entry_that_the_server_passes_over(live):
    live(HERE, acknowledges_critical, log_many, log_many, wait, spill=True, window=4, queue_bytes=4_000)


def sent_and_not_noted(run):
    """Memory runs out when an entry was sent, and is still in the queue; and then the way ends."""
    add = Unacknowledged.add

    def failing(*given):
        Unacknowledged.add = add
        add(*given)
        run.network.is_unreachable = True
        raise MemoryError

    run.put(run.program, "ERROR", 0)
    run.program.has_failed = run.program.thread.trouble.may_come = run.oracle.may_repeat = True
    Unacknowledged.add = failing
    run.work(1)


@pytest.mark.parametrize("spill", [False, True])
def test_an_entry_that_an_error_left_in_two_places_is_in_one_again(live, spill):
    live(ELSEWHERE, start_server, log, sent_and_not_noted, wait, way_comes_back, wait, spill=spill)


def test_a_way_that_has_become_longer_for_good(live):
    """The ACKs of entries that were sent again measure nothing."""

    def newest_were_sent_once(run):
        assert [entry.handed for entry in run.oracle.entries[-10:]] == [1] * 10

    live(ELSEWHERE, start_server, *[log, moment] * 10, slow_answers, *[log, moment] * 30, newest_were_sent_once)
