# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a process in the background asks of Linux, and Python has no functions for."""

import os

from libc.errno cimport errno

cdef extern from "sys/prctl.h" nogil:
    enum:
        PR_SET_PDEATHSIG
    int prctl(int option, ...)

cdef extern from "sys/syscall.h" nogil:
    enum:
        SYS_ioprio_set

cdef extern from "unistd.h" nogil:
    long syscall(long number, ...)

cdef enum:
    # Of linux/ioprio.h, which older systems lack: the calling thread, and the class whose turn comes when nobody else
    # uses the disk.
    IOPRIO_WHO_PROCESS = 1
    IOPRIO_CLASS_IDLE = 3 << 13


def end_with_parent(int signal):
    """The kernel sends this signal when the thread ends that has started this process. Raises OSError."""
    if prctl(PR_SET_PDEATHSIG, <unsigned long>signal) != 0:
        raise OSError(errno, os.strerror(errno))


def use_idle_disk():
    """The kernel serves the reads and writes of this process when no other one has any. Raises OSError."""
    if syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE) != 0:
        raise OSError(errno, os.strerror(errno))
