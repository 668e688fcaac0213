"""Messages on standard error: printing them never fails."""

from tests.helpers.running import run_python

THREADS = """
import sys, threading
from fastlog.errors import messages

failures = []
started = threading.Barrier(4)

def print_many():
    started.wait()
    try:
        for _ in range(20_000):
            messages.say("a message")
    except Exception as error:
        failures.append(repr(error))

messages.never_wait()
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=print_many) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*failures)
"""


def test_threads_may_print_at_the_same_time():
    assert run_python("import os\nos.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n" + THREADS).stdout == "\n"
