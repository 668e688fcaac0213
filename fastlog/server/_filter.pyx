# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Classic BPF programs on a socket: Python's own getsockopt cannot ask for one, since the kernel counts the buffer in
instructions instead of bytes.
"""

import os

from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fastlog._linux cimport socklen_t

cdef extern from "sys/socket.h" nogil:
    enum:
        SOL_SOCKET
        SO_ATTACH_FILTER
        SO_DETACH_FILTER
        SO_GET_FILTER
    int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
    int setsockopt(int fd, int level, int option, const void *value, socklen_t size)

cdef extern from "linux/filter.h" nogil:
    enum:
        BPF_MAXINSNS
    cdef struct sock_filter:
        uint16_t code
        uint8_t jt
        uint8_t jf
        uint32_t k
    cdef struct sock_fprog:
        unsigned short len
        sock_filter *filter


def attach(int fd, bytes program not None):
    """From now on the socket takes what this program, of the form of struct sock_filter, lets through. It takes the
    place of the one before in one step. Raises OSError: EPERM if the socket is locked, ENOMEM if the program is too
    long."""
    cdef sock_fprog to_attach
    to_attach.len = <unsigned short>(len(program) // sizeof(sock_filter))
    to_attach.filter = <sock_filter *><const char *>program
    if setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &to_attach, sizeof(to_attach)) != 0:
        raise OSError(errno, os.strerror(errno))


def detach(int fd):
    """The socket takes everything again. Raises OSError: ENOENT if it has no program."""
    cdef int nothing = 0
    if setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &nothing, sizeof(nothing)) != 0:
        raise OSError(errno, os.strerror(errno))


def attached(int fd):
    """The program of the socket; empty if it has none. Raises OSError: EACCES if it is not a classic one."""
    cdef sock_filter program[BPF_MAXINSNS]
    cdef socklen_t instructions = BPF_MAXINSNS
    if getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, program, &instructions) != 0:
        raise OSError(errno, os.strerror(errno))
    return (<const char *>program)[:instructions * sizeof(sock_filter)]
