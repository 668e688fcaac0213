"""The life of real programs that log to real servers through a bad network, in random order.

`tests/unit/test_client_model.py` makes thousands of such runs in virtual time. Here everything is real, and a run takes
seconds.
"""

import os
from random import Random

import pytest

from tests.helpers.life import Life, Relay, lines_of, messages_of
from tests.helpers.running import PATIENCE_SEC, Server, eventually

RUNS = int(os.environ.get("FASTLOG_LIFE_RUNS", "4"))
FIRST = int(os.environ.get("FASTLOG_LIFE_FIRST", "0"))  # seeds are numbers from here on
STEPS = 12  # of a run
BYSTANDER = b"a file of the program"


class World:
    """A server, the network before it, and the programs, of which one runs at a time."""

    def __init__(self, tmp_path, closing, seed: int) -> None:
        self.rng = Random(seed)
        self._closing = closing
        self._log, spills = tmp_path / "log", tmp_path / "spill"
        self._log.mkdir()
        spills.mkdir()
        self.spills = spills
        self.bystanders = [spills / name for name in ("s.py", "s.1-1234", "s")]
        for path in self.bystanders:
            path.write_bytes(BYSTANDER)
        self.relay = closing(Relay(Random(seed)))
        self.server: Server | None = None
        self.start_server()
        self.lives: list[Life] = []
        self.start_program()

    def start_server(self) -> None:
        self.server = self._closing(Server(self._log, DASHBOARD_PORT="off", **self._port()))
        self.relay.to = self.server.port

    def start_program(self) -> None:
        name = f"p{len(self.lives)}"
        self.lives.append(self._closing(Life(name, self.relay.port, self.spills / "s")))

    @property
    def program(self) -> Life:
        return self.lives[-1]

    def _port(self) -> dict[str, str]:
        """Where the next server listens: where the one before did, or elsewhere."""
        if self.server is None or self.rng.random() < 0.5:
            return {}
        return {"SERVER_PORT": str(self.server.port)}

    # Steps

    def send(self) -> None:
        self.program.do("send", self.rng.getrandbits(32), self.rng.choice((1, 5, 50)))

    def fork(self) -> None:
        self.program.do("fork", self.rng.getrandbits(32), self.rng.choice((1, 5)))

    def flush(self) -> None:
        self.program.do("flush", self.rng.choice((0.05, 0.3)))

    def network(self) -> None:
        self.relay.loss = self.rng.choice((0.0, 0.2, 0.5, 1.0))
        self.relay.repeat = self.rng.choice((0.0, 0.2))

    def other_ports(self) -> None:
        self.relay.renews = True

    def close_or_open(self) -> None:
        self.relay.is_open = not self.relay.is_open

    def restart_server(self) -> None:
        if self.rng.random() < 0.5:
            self.server.process.kill()
        else:
            self.server.signal(15)
        self.server.wait()
        self.server.close()
        if self.rng.random() < 0.5:
            self.send()
        self.start_server()

    def kill_program(self) -> None:
        self.program.kill()
        self.start_program()

    def end_program(self) -> None:
        if self.rng.random() < 0.5:
            self.program.do("close", self.rng.choice((0.0, 0.3)))
        self.program.end()
        self.start_program()

    def heal(self) -> None:
        self.relay.loss = self.relay.repeat = 0.0
        self.relay.is_open = True

    STEPS = (
        *(send, send, send, send, fork, flush),
        *(network, other_ports, close_or_open, restart_server),
        *(kill_program, end_program, heal),
    )

    def check_figures(self) -> None:
        """Each call is in one place."""
        figures = self.program.figures
        names = ("queued", "dropped", "sent_once", "acknowledged", "given_up", "spilled")
        assert figures["calls"] == sum(figures[name] for name in names), figures

    def check_end(self) -> None:
        """When all is well again, everything arrives that is not told."""
        self.heal()
        self.program.do("close", PATIENCE_SEC)
        self.program.end()
        self.start_program()  # it sends what the others, and their children, have left
        self.program.do("send", 0, 10)
        eventually(lambda: self.program.do("flush", 1), self.is_quiet)
        self.program.do("close", PATIENCE_SEC)
        self.program.end()
        lines = lines_of(self.server.whole_log())
        assert not [path for path in self.spills.iterdir() if path not in self.bystanders]
        assert all(path.read_bytes() == BYSTANDER for path in self.bystanders)
        stored = messages_of(lines)
        for life in self.lives:
            missing = [message for message in life.sent if message not in stored]
            may_miss = life.told + (life.figures["queued"] if life.is_killed else 0)
            assert len(missing) <= may_miss, f"{life.name}: {missing} are missing, {life.told} told: {life.figures}"

    def is_quiet(self, figures) -> bool:
        files = [path for path in self.spills.iterdir() if path not in self.bystanders]
        return not (figures["queued"] or figures["problem"] or files)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_everything_that_programs_log_is_stored_or_told(tmp_path, closing, seed):
    world = World(tmp_path, closing, seed)
    for _ in range(STEPS):
        world.rng.choice(World.STEPS)(world)
        world.check_figures()
    world.check_end()
