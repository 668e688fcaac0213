"""Programs that tests run to their end, and what they leave in the log."""

import os
import subprocess
import sys
from textwrap import dedent

from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC, run_python
from tests.helpers.stored import messages

IMPORTS = """
import atexit, copy, gc, logging, os, pickle, signal, socket, sys, threading, time, weakref
import fastlog
from fastlog import Client
port = int(sys.argv[1])
"""


def run_program(text: str, port: int, *arguments: object, first: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a program that has the server's port in `port`; `first` comes before all imports. Any error or warning in it
    is one of the test."""
    done = run_python(f"{first}\n{IMPORTS}" + dedent(text), port, *arguments, check=False)
    assert done.returncode == 0, done.stderr
    return done


def run_file(path, text: str, port: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The same from a file, which children that are started anew can import."""
    path.write_text(IMPORTS + dedent(text))
    return subprocess.run(
        [sys.executable, str(path), str(port), *map(str, arguments)],
        env=BASE_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=True,
    )


def stored(server) -> list[str]:
    """Ends the server; returns the messages in its log."""
    server.stop()
    return messages(server)
