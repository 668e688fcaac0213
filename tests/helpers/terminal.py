"""A real terminal, tmux, that runs a command.

Where tmux is missing the tests that need it are skipped, except in CI, where they fail.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC

TMUX = shutil.which("tmux")
needs_terminal = pytest.mark.skipif(
    TMUX is None and os.environ.get("CI") != "true", reason="no tmux; on Debian: apt install tmux"
)


class Terminal:
    """Runs a command in `directory`, on a screen of that size. The screen stays when the command has ended; then `cat`
    takes over the terminal, and shows what is typed and what the command did not read."""

    def __init__(
        self, directory: Path, *command: str, columns: int = 120, lines: int = 50, **environment: str
    ) -> None:  # fmt: skip
        self._tmux = [TMUX, "-S", str(directory / "tmux"), "-f", "/dev/null"]
        script = directory / "in-terminal"
        script.write_text(
            f"trap : INT\ncd {shlex.quote(str(directory))}\n{shlex.join(command)}\n{shlex.join([*self._tmux, 'wait-for', '-S', 'end'])}\nexec cat\n"
        )
        self._environment = {**BASE_ENVIRONMENT, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment}
        self._run("new", "-d", "-x", str(columns), "-y", str(lines), "sh", str(script))

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], check=True, env=self._environment, capture_output=True, timeout=PATIENCE_SEC
        )
        return done.stdout.decode()

    def wait(self) -> None:
        """Waits until the command has ended."""
        self._run("wait-for", "end")

    def type(self, *keys: str) -> None:
        """Each is a key by the name that tmux has for it, such as `Down`, or text."""
        self._run("send-keys", *keys)

    def screen(self) -> str:
        """The text on the screen, with its escape sequences."""
        return self._run("capture-pane", "-p", "-e")

    def title(self) -> str:
        return self._run("display", "-p", "#{pane_title}")

    def command_pid(self) -> int:
        """The process of the command, which the shell of the terminal started."""
        shell = self._run("display", "-p", "#{pane_pid}").strip()
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0])

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, env=self._environment, stderr=subprocess.DEVNULL)


def plain(text: str) -> str:
    """The text without colours, which are the only escapes allowed."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert text.replace("\n", "").isprintable()
    return text
