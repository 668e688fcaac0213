# cython: language_level=3
"""What the client asks of the system directly: threads, forks, wake-ups and waits.

Neither a library that replaces parts of the standard library (gevent, eventlet) nor a signal handler comes between.
A descriptor is compared with the file that it was opened for before it is used, since a program may close all of its
descriptors at any time and open other files under their numbers.
"""

from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EINTR, errno
from libc.stdlib cimport free, malloc
from libc.string cimport strerror
from posix.stat cimport fstat, struct_stat
from posix cimport unistd

cdef extern from "pythread.h" nogil:
    unsigned long PYTHREAD_INVALID_THREAD_ID
    unsigned long PyThread_start_new_thread(void (*run)(void *) noexcept nogil, void *argument)
    unsigned long PyThread_get_thread_ident()

cdef extern from "Python.h":
    int Py_AddPendingCall(int (*call)(void *) except -1, void *argument) noexcept

cdef extern from "pthread.h" nogil:
    int pthread_atfork(void (*prepare)() noexcept, void (*parent)() noexcept, void (*child)() noexcept)

cdef extern from * nogil:
    """
    #include <fcntl.h>
    #include <sys/mman.h>
    #include <unistd.h>

    #ifndef MADV_WIPEONFORK
    #define MADV_WIPEONFORK -1 /* a system that has none refuses it */
    #endif

    static int open_pipe(int *ends) {
    #ifdef __linux__
        return pipe2(ends, O_NONBLOCK | O_CLOEXEC);
    #else
        int i;
        if (pipe(ends))
            return -1;
        for (i = 0; i < 2; i++) {
            fcntl(ends[i], F_SETFD, FD_CLOEXEC);
            fcntl(ends[i], F_SETFL, O_NONBLOCK);
        }
        return 0;
    #endif
    }
    """
    int MADV_WIPEONFORK
    int open_pipe(int *ends)

cdef extern from "sys/mman.h" nogil:
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS
    void *MAP_FAILED
    void *mmap(void *address, size_t size, int protection, int flags, int fd, long offset)
    int madvise(void *address, size_t size, int advice)

cdef extern from "fcntl.h" nogil:
    int F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, ...)

cdef extern from "poll.h" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents

cdef extern from "_forks.h" nogil:
    int is_fork_of_python
    void c_before_fork "before_fork"() noexcept
    void c_after_fork_in_parent "after_fork_in_parent"() noexcept
    void c_after_fork_in_child "after_fork_in_child"() noexcept
    void thread_begins() noexcept
    void thread_ends() noexcept
    int wait_for(pollfd *descriptors, unsigned long count, int timeout_ms) noexcept

cpdef enum:
    # For Wakeup.wait, from poll.h.
    READ = 1
    WRITE = 4

cdef enum:
    # The first descriptor that is not one of the standard streams.
    FIRST_OTHER = 3
    # A client waits for its wake-up, its socket, and the socket of a replay.
    WAITED_MAX = 8
    # Bytes of the pipe that are read at once; each wake-up is one.
    DRAINED_BYTES = 1024

# The longest wait; a longer one is begun anew.
WAIT_MAX_SEC = 3600.0


cdef void after_fork_in_child() noexcept nogil:
    is_noted[0] = 0
    c_after_fork_in_child()


def note_fork_of_python(bint is_under_way):
    """To be called before and after each fork that Python makes."""
    global is_fork_of_python
    is_fork_of_python = is_under_way


forks = 0
is_noted = <int *>mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
if is_noted == <int *>MAP_FAILED or pthread_atfork(
    c_before_fork, c_after_fork_in_parent, after_fork_in_child
):
    raise MemoryError
is_noted[0] = 1
madvise(is_noted, sizeof(int), MADV_WIPEONFORK)  # an old kernel does not know it


cdef struct Start:
    void (*run)(void *) noexcept nogil
    void *argument


cdef bint start_thread(void (*run)(void *) noexcept nogil, void *argument) noexcept:
    cdef Start *start = <Start *>malloc(sizeof(Start))
    if start == NULL:
        return False
    start.run, start.argument = run, argument
    if PyThread_start_new_thread(begin_thread, start) == PYTHREAD_INVALID_THREAD_ID:
        free(start)
        return False
    return True


cdef void begin_thread(void *started) noexcept nogil:
    cdef Start start = (<Start *>started)[0]
    free(started)
    thread_begins()
    start.run(start.argument)
    thread_ends()


def may_start_threads():
    """Whether a thread may run in this process: always, since forks in C code wait for it."""
    return True


def start(run):
    """Runs `run()`, which raises nothing, in a new thread. Returns False if there is no thread for it."""
    Py_INCREF(run)
    if start_thread(call, <void *>run):
        return True
    Py_DECREF(run)
    return False


cdef void call(void *argument) noexcept with gil:
    run = <object>argument
    Py_DECREF(run)
    run()


cdef object interruption = None


def keep_interruption(error):
    """An error of a signal handler that came before a fork of Python, where it would reach nobody; None for none."""
    global interruption
    interruption = error


def after_fork_of_python():
    """To be called in the parent. The main thread raises the error that was kept as soon as it runs Python code, so
    this must not be such code itself."""
    global interruption
    note_fork_of_python(False)
    error, interruption = interruption, None
    if error is not None:
        Py_INCREF(error)
        if Py_AddPendingCall(raise_again, <void *>error):
            Py_DECREF(error)


cdef int raise_again(void *argument) except -1:
    error = <object>argument
    Py_DECREF(error)
    raise error


cdef unsigned long this_thread() noexcept:
    return PyThread_get_thread_ident()


cpdef void pause(double seconds) noexcept:
    """Sleeps, without the interpreter and without letting other greenlets run: for the client's own thread."""
    cdef int timeout_ms = <int>(min(seconds, WAIT_MAX_SEC) * 1000)
    with nogil:
        wait_for(NULL, 0, timeout_ms)


cdef int above_standard_streams(int fd) except -1:
    """As in `descriptor.py`."""
    cdef int other, failure
    if fd >= FIRST_OTHER:
        return fd
    other = fcntl(fd, F_DUPFD_CLOEXEC, <int>FIRST_OTHER)
    failure = errno
    unistd.close(fd)
    if other < 0:
        raise OSError(failure, strerror(failure).decode())
    return other


cdef class Wakeup:
    """Opened by the thread that waits for it, so that making a client opens no descriptor."""

    def __cinit__(self):
        self.reader = self.writer = -1

    def __dealloc__(self):
        self.shut()

    def open(self):
        """Makes a pipe, in place of the one before. Raises OSError where the process has no descriptor left."""
        cdef int ends[2]
        cdef struct_stat status
        self.shut()
        if open_pipe(ends):
            PyErr_SetFromErrno(OSError)
        fstat(ends[0], &status)
        self.device, self.inode = status.st_dev, status.st_ino
        self.reader, self.writer = ends[0], ends[1]
        self.reader = above_standard_streams(self.reader)
        self.writer = above_standard_streams(self.writer)

    def close(self):
        self.shut()

    @property
    def is_open(self):
        """Both ends are open, and are those of this pipe."""
        return self.is_whole()

    def wake(self):
        """Ends the wait of the thread, or the next one. Returns False if the thread cannot be woken."""
        return self.wake_now()

    def wait(self, list others not None, double seconds):
        """Waits until it is woken, one of the other descriptors is ready, or the time is over. `others` are pairs of a
        descriptor and READ or WRITE or both. The error of a signal handler is raised in the main thread."""
        cdef pollfd waited[WAITED_MAX]
        cdef char drained[DRAINED_BYTES]
        cdef int count = 1, found
        cdef int timeout_ms = <int>(max(0.0, min(seconds, WAIT_MAX_SEC)) * 1000 + 0.999)
        if len(others) >= WAITED_MAX or not self.is_whole():
            return
        waited[0].fd, waited[0].events, waited[0].revents = self.reader, READ, 0
        for fd, events in others:
            waited[count].fd, waited[count].events, waited[count].revents = fd, events, 0
            count += 1
        with nogil:
            found = wait_for(waited, count, timeout_ms)
        if found < 0 and errno == EINTR:
            PyErr_CheckSignals()
        if found > 0 and waited[0].revents & READ and self.is_whole():
            unistd.read(self.reader, drained, DRAINED_BYTES)

    cdef bint wake_now(self) noexcept:
        if not self.is_whole():
            return False
        unistd.write(self.writer, b"w", 1)  # a pipe that is full wakes the thread, too
        return True

    cdef bint is_whole(self) noexcept:
        return self.holds(self.reader) and self.holds(self.writer)

    cdef bint holds(self, int fd) noexcept:
        cdef struct_stat status
        return fd >= 0 and fstat(fd, &status) == 0 and status.st_dev == self.device and status.st_ino == self.inode

    cdef void shut(self) noexcept:
        """Closes what is still its own, and forgets the rest."""
        if self.holds(self.reader):
            unistd.close(self.reader)
        if self.holds(self.writer):
            unistd.close(self.writer)
        self.reader = self.writer = -1
