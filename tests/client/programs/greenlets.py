"""Greenlets that log 500 errors: greenlets.py LIBRARY WHEN PORT. The library is eventlet or gevent. WHEN says when it
replaces the standard library's threads and sockets: before or after the import of fastlog, after the first entry, or
never. Prints something if gevent makes an event loop in another thread: it imports modules for that, and those imports
and the program's wait for each other."""

import os
import sys
from _thread import get_native_id

LIBRARY, WHEN, PORT = sys.argv[1:]


def patch() -> None:
    if LIBRARY == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    else:
        from gevent import hub, monkey

        monkey.patch_all()
        make = hub.Hub.__init__

        def make_and_tell(self, *arguments, **options) -> None:
            if get_native_id() != os.getpid():
                print("gevent has made an event loop in another thread")
            make(self, *arguments, **options)

        hub.Hub.__init__ = make_and_tell


if WHEN == "before":
    patch()
import logging  # noqa: E402

import fastlog  # noqa: E402

if WHEN == "after":
    patch()
logging.basicConfig(level="INFO", handlers=[fastlog.Handler(port=PORT)])
logging.error("first")
if WHEN == "late":
    patch()
if LIBRARY == "eventlet":
    from eventlet import GreenPool as Pool
    from eventlet import sleep
else:
    from gevent import sleep
    from gevent.pool import Pool


def work(worker: int) -> None:
    for number in range(50):
        logging.error("worker %d %d", worker, number)
        sleep(0)


pool = Pool(10)
for worker in range(10):
    pool.spawn(work, worker)
pool.waitall() if LIBRARY == "eventlet" else pool.join()
logging.error("last")
