"""The manual pages and the completions, as `make pages` writes them."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastlog.flags import make_parser
from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(set(make_parser()._subparsers._group_actions[0].choices) - {"help"})


def needs(program: str):
    return pytest.mark.skipif(
        shutil.which(program) is None and os.environ.get("CI") != "true", reason=f"no {program}; see .ci/run"
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("pages")
    command = [sys.executable, str(ROOT / "docs/make_pages.py"), str(target)]
    subprocess.run(command, cwd=ROOT, env=BASE_ENVIRONMENT | {"PYTHONPATH": str(ROOT)}, check=True)
    return target


def shown(command: list[str], **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SEC, check=False, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_each_command_has_a_page_and_each_page_names_the_others(pages):
    assert sorted(path.name for path in pages.glob("*.1")) == sorted(
        ["fastlog.1", *(f"fastlog-{name}.1" for name in COMMANDS)]
    )
    for path in pages.glob("*.1"):
        text = path.read_text().replace("\\", "")
        for name in COMMANDS:
            assert path.name == f"fastlog-{name}.1" or f"fastlog-{name}" in text


@needs("man")
def test_man_shows_the_pages_without_a_warning(pages):
    environment = BASE_ENVIRONMENT | {"MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    for path in pages.glob("*.1"):
        shown(["man", "--warnings", "--local-file", str(path)], env=environment)
    text = shown(["man", "--local-file", str(pages / "fastlog-tail.1")], env=environment)
    assert "fastlog-tail - show the entries of the log file" in text
    assert "-f, --follow" in text
    assert "fastlog tail --since 1h --level ERROR" in text


def completed(pages: Path, *words: str) -> set[str]:
    """What bash offers after these words."""
    script = f"""
        source {pages / "fastlog.bash"}
        COMP_WORDS=(fastlog {" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words)}
        $(complete -p fastlog | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return set(shown(["bash", "--norc", "-c", script], env=BASE_ENVIRONMENT).split())


def test_bash_completes_commands_and_flags(pages):
    assert set(COMMANDS) <= completed(pages, "")
    assert completed(pages, "do") == {"doctor"}
    assert {"--since", "--until", "--follow", "--env-file"} <= completed(pages, "tail", "--")
    assert completed(pages, "count", "--by", "l") == {"level"}
    assert completed(pages, "tail", "--log-d") == {"--log-dir"}


@needs("fish")
def test_fish_completes_commands_and_flags(pages):
    def offered(line: str) -> set[str]:
        script = f"source {pages / 'fastlog.fish'}; complete --do-complete '{line}'"
        return {row.split("\t")[0] for row in shown(["fish", "--no-config", "-c", script]).splitlines()}

    assert offered("fastlog do") == {"doctor"}
    assert {"--since", "--until"} <= offered("fastlog tail --")


ZSH_SETTINGS = """
fpath=({pages} $fpath); autoload -Uz compinit; compinit -D -u
show() {{ print -r -- "<$BUFFER>"; zle kill-whole-line }}; zle -N show; bindkey '^X' show
"""


@needs("zsh")
def test_zsh_completes_commands_and_flags(pages):
    master, terminal = pty.openpty()
    with (
        open(master, "r+b", buffering=0) as keyboard,
        subprocess.Popen(
            ["zsh", "-f", "-i"], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
            env=BASE_ENVIRONMENT | {"TERM": "dumb"},
        ) as zsh,
    ):  # fmt: skip
        os.close(terminal)

        def completed_line(typed: str) -> str:
            """What becomes of a line by the tab key."""
            keyboard.write(typed.encode() + b"\t\x18")
            shown = b""
            while not (line := re.search(rb"<(.*)>\r\n", shown)):
                assert select.select([keyboard], [], [], PATIENCE_SEC)[0], shown
                shown += keyboard.read(4096)
            return line[1].decode()

        keyboard.write(ZSH_SETTINGS.format(pages=pages).replace("\n", "\r").encode())
        try:
            assert completed_line("fastlog do") == "fastlog doctor "
            assert completed_line("fastlog tail --log-d") == "fastlog tail --log-dir "
            assert completed_line("fastlog tail README.md CONTRIB") == "fastlog tail README.md CONTRIBUTING.md "
            assert completed_line("fastlog count --by lev") == "fastlog count --by level "
        finally:
            zsh.kill()
