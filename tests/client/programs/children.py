"""Children that log 500 errors: children.py LIBRARY METHOD WHAT PORT. The library is multiprocessing or billiard. WHAT
says who logs: `function`, the child's function; `threads` and `executor`, threads of the child that outlive it; `pool`
and `futures`, a pool of processes; `daemon`, children that a daemon thread starts, as `pool` does in the end."""

import importlib
import logging
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import fastlog

LIBRARY, METHOD, WHAT, PORT = sys.argv[1:]
CHILDREN = 5
EACH = 100


def log(child: int, numbers: range) -> None:
    if not logging.getLogger().handlers:  # not inherited, as after a fork
        logging.basicConfig(level="INFO", handlers=[fastlog.Handler(port=PORT)])
    for number in numbers:
        logging.error("child %d %d", child, number)


def log_after_the_function(child: int, numbers: range) -> None:
    for number in numbers:
        time.sleep(0.001)
        log(child, range(number, number + 1))


def run(child: int) -> None:
    half = range(EACH // 2)
    log(child, half)
    rest = range(EACH // 2, EACH)
    if WHAT == "threads":
        threading.Thread(target=log_after_the_function, args=(child, rest)).start()
    elif WHAT == "executor":
        ThreadPoolExecutor(1).submit(log_after_the_function, child, rest)
    else:
        log(child, rest)


def flush(pid: int, exitcode: int) -> None:
    for handler in logging.getLogger().handlers:
        handler.flush()


if __name__ == "__main__":
    library = importlib.import_module(LIBRARY)
    context = library.get_context(METHOD)
    logging.basicConfig(level="INFO", handlers=[fastlog.Handler(port=PORT)])
    logging.error("the parent begins")
    if WHAT == "pool":
        if LIBRARY == "billiard":
            # It kills a child of a pool as soon as the child has done its tasks, and has the child call this before.
            pool = importlib.import_module("billiard.pool").Pool(2, maxtasksperchild=1, on_process_exit=flush)
        else:
            pool = context.Pool(2, maxtasksperchild=1)
        pool.map(run, range(CHILDREN), chunksize=1)
        pool.close()
        pool.join()
    elif WHAT == "futures":
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(run, range(CHILDREN)))
    else:
        children = [context.Process(target=run, args=(child,)) for child in range(CHILDREN)]
        if WHAT == "daemon":
            starter = threading.Thread(target=lambda: [child.start() for child in children], daemon=True)
            starter.start()
            starter.join()
        else:
            for child in children:
                child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0] * CHILDREN
    logging.error("the parent ends")
