"""A program that becomes a daemon after it has set up its logging: becomes_daemon.py PORT FIFO. It holds the FIFO open until it
ends. The library closes all other files, so the program's own file may get the number of one of fastlog's."""

import logging
import os
import sys

import daemon

import fastlog

port, fifo = sys.argv[1:]
logging.basicConfig(level="INFO", handlers=[fastlog.Handler(port=port)])
logging.error("the parent")
logging.getLogger().handlers[0].flush()  # the library ends the parent with os._exit
with daemon.DaemonContext(working_directory=os.getcwd(), stderr=open("stderr", "w")):
    until_the_end = open(fifo, "w")  # noqa: SIM115
    with open("orders", "wb", buffering=0) as orders:
        orders.write(b"order 1\n")
        for number in range(500):
            logging.error("the daemon %d", number)
        logging.getLogger().handlers[0].flush()
        orders.write(b"order 2\n")
    logging.error("the daemon's last")
