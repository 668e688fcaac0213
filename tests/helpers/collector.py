"""A collector with its shipper: `fastlog serve` and `fastlog ship` in processes of their own, which a test kills."""

import random
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fastlog.segments import identity_of, read_shipped, shipped_path
from tests.helpers.resending import ResendingClient
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, Server, until
from tests.helpers.ship_oracle import KeptFiles

NODE = "collector"
MESSAGES_SHOWN = 4_000  # bytes of the end of what a shipper printed, in a report


class Shipper:
    """`fastlog ship` of the log in `directory`. What it prints is appended to `directory/ship.messages`."""

    def __init__(self, directory: Path, *flags: str, command: Sequence[str] = FASTLOG, **settings: str) -> None:
        self._printed = directory / "ship.messages"
        settings = {"LOG_DIR": "logs", "SHIP_NODE": NODE, **settings}
        with self._printed.open("ab") as printed:
            self.process = subprocess.Popen(
                [*command, "ship", *flags],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                env={**BASE_ENVIRONMENT, **{f"FASTLOG_{name}": value for name, value in settings.items()}},
            )

    @property
    def messages(self) -> str:
        return self._printed.read_text()[-MESSAGES_SHOWN:]

    def check_alive(self) -> None:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.messages}"

    def kill(self) -> None:
        self.check_alive()
        self.close()

    def stop(self) -> int:
        """Ends it as a service manager would; returns its exit code."""
        self.process.terminate()
        return self.wait()

    def wait(self, patience_sec: float = PATIENCE_SEC) -> int:
        return self.process.wait(patience_sec)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Collector:
    """A log with its server, its shipper, a client that sends to it, and links to all of the files it ever had.

    `server_settings` and `ship_settings` are those of each start. Each of the processes may be killed and started again.
    """

    def __init__(
        self,
        directory: Path,
        rng: random.Random,
        server_settings: dict[str, str],
        ship_settings: dict[str, str],
        ship_command: Sequence[str] = FASTLOG,
        server_command: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(parents=True)
        self.files = KeptFiles(self.logs, directory / "kept")
        self.client = ResendingClient(rng)
        self.server: Server | None = None
        self.shipper: Shipper | None = None
        self._server_settings = server_settings
        self._ship_settings = ship_settings
        self._ship_command = ship_command
        self._server_command = server_command
        self._port = "0"

    def start_server(self) -> None:
        self.server = Server(
            self.directory,
            command=self._server_command,
            **{"LOG_DIR": "logs", "SERVER_PORT": self._port, "DASHBOARD_PORT": "off", **self._server_settings},
        )
        self._port = str(self.server.port)
        self.client.connect(self.server.port)
        self.files.look()

    def start_shipper(self) -> None:
        self.shipper = self._ship()

    def wait_for_note(self) -> None:
        """Until the shipper's note is there: from then on the server keeps what is not shipped."""

        def is_there() -> bool:
            self.shipper.check_alive()
            return shipped_path(self.logs / "server.log").exists()

        until(is_there, "the shipper's note")

    def wait_until_shipped(self) -> None:
        """Until the shipper's note says that all is shipped. The server has ended."""

        def is_shipped() -> bool:
            self.shipper.check_alive()
            live = self.logs / "server.log"
            note = read_shipped(live)
            return note is not None and note.position == (*identity_of(live), live.stat().st_size)

        until(is_shipped, "the note that all is shipped")

    def wait_for_compression(self, count: int) -> None:
        """Until so many more archives are compressed, or all are. The server runs."""
        self.files.look()
        target = len(self.files.compressed()) + count

        def is_done() -> bool:
            done = self.files.compressed()
            return len(done) >= target or len(done) == len(list(self.logs.glob("server.log.[0-9]*")))

        until(is_done, "compressed archives")

    def kill_server(self) -> None:
        self.server.process.kill()
        self.server.process.wait(PATIENCE_SEC)
        self.server.close()
        self.files.look()

    def kill_shipper(self) -> None:
        self.shipper.kill()

    def send(self, count: int) -> None:
        self.client.send(count, self.server, self.files.look)

    def settle(self) -> None:
        """Everything that was sent is stored, and the server has ended."""
        self.client.settle()
        assert self.server.stop() == 0
        self.server.close()
        self.files.look()

    def ship_the_rest(self, patience_sec: float = PATIENCE_SEC) -> None:
        """The shipper ends, and another one ships what is left."""
        self.shipper.check_alive()
        code = self.shipper.stop()
        assert code in (0, -signal.SIGTERM), self.shipper.messages  # the signal ends one that has only begun to start
        rest = self._ship("--once")
        try:
            assert rest.wait(patience_sec) == 0, rest.messages
        finally:
            rest.close()

    def _ship(self, *flags: str) -> Shipper:
        return Shipper(self.directory, *flags, command=self._ship_command, **self._ship_settings)

    def close(self) -> None:
        for each in (self.shipper, self.server, self.client):
            if each:
                each.close()
