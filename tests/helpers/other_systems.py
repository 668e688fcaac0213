"""Makes a program's own process look like one on another system, as far as Python shows it: what that system does not
have is gone. To be called before fastlog is imported."""

import _signal
import _socket
import argparse
import ctypes
import dataclasses
import difflib
import importlib.metadata
import inspect
import ipaddress
import logging
import logging.handlers
import os
import select
import selectors
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import traceback
import unittest.mock
import uuid
from pathlib import Path

import dotenv
import msgspec

# Imported here, since they look at sys.platform when they are imported.
BEFORE = (
    *(argparse, ctypes, dataclasses, difflib, importlib.metadata, inspect, ipaddress, logging, logging.handlers),
    *(selectors, subprocess, tempfile, traceback, unittest.mock, uuid, dotenv, msgspec),
)
COMPILED = [
    ".".join(stub.with_suffix("").parts)
    for stub in (
        stub.relative_to(Path(__file__).parents[2]) for stub in Path(__file__).parents[2].glob("fastlog/**/*.pyi")
    )
]

NOT_ON_MACOS = {
    os: "eventfd eventfd_read eventfd_write memfd_create pidfd_open pipe2 posix_fadvise posix_fallocate splice "
    "copy_file_range sched_getaffinity sched_setaffinity getresuid setresuid O_DIRECT O_TMPFILE O_PATH",
    socket: "AF_NETLINK AF_PACKET AF_VSOCK SO_DOMAIN SO_PROTOCOL SO_PEERCRED SO_MARK SO_INCOMING_CPU IP_RECVORIGDSTADDR "
    "TCP_QUICKACK MSG_MORE MSG_CMSG_CLOEXEC SOCK_CLOEXEC SOCK_NONBLOCK",
    select: "epoll EPOLLIN EPOLLOUT",
    signal: "SIGPWR SIGSTKFLT SIGPOLL SIGRTMIN SIGRTMAX sigtimedwait sigwaitinfo",
}
NOT_ON_WINDOWS = {
    os: "fork forkpty register_at_fork pread pwrite preadv pwritev getuid geteuid getgid getegid chown fchown fchmod "
    "uname fdatasync sendfile wait3 killpg setsid O_NOFOLLOW O_NONBLOCK O_CLOEXEC O_NOCTTY O_DIRECTORY O_SYNC "
    "get_blocking set_blocking",
    socket: "AF_UNIX SO_REUSEPORT MSG_DONTWAIT MSG_NOSIGNAL socketpair",
    select: "poll POLLIN POLLOUT",
    signal: "SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGVTALRM SIGPROF SIGIO SIGTTOU SIGTTIN SIGXCPU SIGCHLD SIGWINCH "
    "setitimer pthread_sigmask pthread_kill alarm",
}
MODULES_NOT_ON_WINDOWS = ("fcntl", "termios", "tty", "pwd", "grp", "resource", "syslog")


def without_compiled_modules() -> None:
    for name in COMPILED:
        sys.modules[name] = None  # type: ignore[assignment] # as if there were none


def become_macos() -> None:
    without_compiled_modules()
    _take_away(NOT_ON_MACOS)
    _replace_fstat(_fstat_of_macos)
    sys.platform = "darwin"


def become_windows() -> None:
    without_compiled_modules()
    _take_away(NOT_ON_MACOS)
    _take_away(NOT_ON_WINDOWS)
    _replace_fstat(_fstat_of_windows)
    socket.socketpair = _pair  # type: ignore[assignment]
    os.supports_effective_ids = set()
    for name in MODULES_NOT_ON_WINDOWS:
        sys.modules[name] = None  # type: ignore[assignment]
    sys.platform = "win32"


def _take_away(missing: dict) -> None:
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc]
    inner = {socket: _socket, signal: _signal}
    for module, names in missing.items():
        for name in names.split():
            for owner in (module, inner.get(module, module)):
                if hasattr(owner, name):
                    delattr(owner, name)


def _replace_fstat(replaced) -> None:
    original = os.fstat
    os.fstat = lambda fd: replaced(original(fd), fd)


def _fstat_of_macos(status: os.stat_result, fd: int) -> os.stat_result:
    """Sockets of the internet have neither a device nor a number there."""
    if not stat.S_ISSOCK(status.st_mode):
        return status
    own = _socket.socket(fileno=fd)
    try:
        is_unix = not isinstance(own.getsockname(), tuple)
    finally:
        own.detach()
    return status if is_unix else os.stat_result((status.st_mode, 0, 0, *status[3:]))


def _fstat_of_windows(status: os.stat_result, fd: int) -> os.stat_result:
    """Sockets are not files there."""
    if stat.S_ISSOCK(status.st_mode):
        raise OSError(9, "Bad file descriptor")
    return status


def _pair() -> tuple[socket.socket, socket.socket]:
    """As the socket module makes one where the system has none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other
