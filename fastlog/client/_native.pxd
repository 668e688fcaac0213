# What the client asks of the system directly.

from posix.types cimport dev_t, ino_t

# How many forks lie between the process that imported this module and this one, as far as they are noted. `is_noted` is
# in a page that the kernel empties at each fork, whoever makes the system call. A kernel that does not is helped by the
# C library, at the forks that it makes. Neither needs Python's hooks.
cdef int forks
cdef int *is_noted

# Another number after each fork.
cdef inline int generation() noexcept:
    global forks
    if not is_noted[0]:
        is_noted[0] = 1
        forks += 1
    return forks

# Wakes the client's thread, which waits for it among its sockets: a pipe. An eventfd would not do, since all of them
# have one inode: nothing would show that the number belongs to another file by now.
cdef class Wakeup:
    # Its two ends, or -1.
    cdef int reader, writer
    # The pipe as fstat identifies it.
    cdef dev_t device
    cdef ino_t inode

    # Returns False if the thread cannot be woken: the pipe is not open, or its numbers belong to other files.
    cdef bint wake_now(self) noexcept
    cdef bint is_whole(self) noexcept
    cdef bint holds(self, int fd) noexcept
    # Closes what is still its own, and forgets the rest.
    cdef void shut(self) noexcept

# Runs `run(argument)` in a new thread, and takes over a reference to `argument`. Returns False if there is no thread
# for it. No Python code runs meanwhile, so no signal handler and no other thread comes between.
cdef bint start_thread(void (*run)(void *) noexcept nogil, void *argument) noexcept

# What identifies the calling thread: never 0.
cdef unsigned long this_thread() noexcept

cdef int above_standard_streams(int fd) except -1

cpdef void pause(double seconds) noexcept
