# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""fdatasync that does not block: Linux AIO with IOCB_CMD_FDSYNC, whose completion an eventfd signals.

Kernel 4.18 and newer. The C library has no names for these calls, so they are made by number. A submitted sync keeps
its own reference to the file: the descriptor may be closed before it ends.
"""

import os

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "linux/aio_abi.h" nogil:
    ctypedef unsigned long aio_context_t
    enum:
        IOCB_CMD_FDSYNC
        IOCB_CMD_FSYNC
        IOCB_FLAG_RESFD
    cdef struct iocb:
        uint64_t aio_data
        uint16_t aio_lio_opcode
        uint32_t aio_fildes
        uint32_t aio_flags
        uint32_t aio_resfd
    cdef struct io_event:
        uint64_t data
        int64_t res

cdef extern from "sys/syscall.h" nogil:
    enum:
        SYS_io_setup
        SYS_io_destroy
        SYS_io_submit
        SYS_io_getevents

cdef extern from "unistd.h" nogil:
    int close(int fd)
    long syscall(long number, ...)

cpdef enum:
    # Syncs under way at once: a group has few files, seldom more than two. The kernel reserves room for this many.
    MAX_UNDER_WAY = 64


cdef class Aio:
    """At most MAX_UNDER_WAY syncs at once. `eventfd` is readable when one has ended; all calls raise OSError."""

    cdef aio_context_t context  # 0: not set up
    cdef readonly int eventfd
    cdef readonly int under_way

    def __cinit__(self):
        self.eventfd = -1
        self.eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set_up(self):
        """To be called before the first sync; if it raises OSError, it may be called again."""
        if self.context == 0 and syscall(SYS_io_setup, <long>MAX_UNDER_WAY, &self.context) < 0:
            raise OSError(errno, os.strerror(errno), "io_setup")

    def close(self):
        """Waits for the syncs under way. Idempotent."""
        with nogil:
            self.release()

    def __dealloc__(self):
        self.release()

    cdef void release(self) noexcept nogil:
        if self.context:
            syscall(SYS_io_destroy, self.context)
            self.context = 0
        if self.eventfd >= 0:
            close(self.eventfd)
            self.eventfd = -1

    def submit(self, int fd, bint full, uint64_t tag):
        """Begins the sync of a file's data; `full`: of its attributes as well, or of a directory's entries. `ended`
        returns `tag` when it has ended."""
        cdef iocb block
        cdef iocb *blocks = &block
        cdef long submitted
        memset(&block, 0, sizeof(block))  # buf, nbytes and offset must be 0
        block.aio_lio_opcode = IOCB_CMD_FSYNC if full else IOCB_CMD_FDSYNC
        block.aio_fildes = fd
        block.aio_data = tag
        block.aio_flags = IOCB_FLAG_RESFD
        block.aio_resfd = self.eventfd
        submitted = syscall(SYS_io_submit, self.context, <long>1, &blocks)
        if submitted < 0:
            raise OSError(errno, os.strerror(errno), "io_submit")
        self.under_way += 1

    def ended(self, bint wait=False):
        """The syncs that have ended: (tag, 0 or errno). `wait`: waits for at least one."""
        cdef io_event events[MAX_UNDER_WAY]
        cdef long count = 0, i, least = 1 if wait and self.under_way else 0
        cdef list found = []
        if not wait:
            try:
                os.eventfd_read(self.eventfd)
            except BlockingIOError:
                pass
        while True:
            with nogil:
                count = syscall(SYS_io_getevents, self.context, least, <long>MAX_UNDER_WAY, events, NULL)
            if count < 0:
                if errno == EINTR:
                    PyErr_CheckSignals()  # a handler may end the wait with an exception
                    continue
                raise OSError(errno, os.strerror(errno), "io_getevents")
            self.under_way -= count
            found += [(events[i].data, -events[i].res) for i in range(count)]
            if count < MAX_UNDER_WAY:  # otherwise there may be more, which the eventfd will not signal again
                return found
            least = 0
