"""A WSGI application that sets up its logging when it is loaded, logs LOADED errors then, and five for each request."""

import logging
import os

import fastlog

logging.basicConfig(level="INFO", handlers=[fastlog.Handler(port=os.environ["LOG_PORT"], fields=["process"])])
for number in range(int(os.environ["LOADED"])):
    logging.error("loaded %d by %d", number, os.getpid())


def application(environment, start_response):
    for number in range(5):
        logging.error("%s %d", environment["PATH_INFO"], number)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
