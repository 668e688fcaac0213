# cython: language_level=3
"""Keeps the memory of unpacked frames for the next ones."""

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static void fl_keep_freed(size_t bytes) {
        mallopt(M_MMAP_THRESHOLD, (int)bytes);
        mallopt(M_TRIM_THRESHOLD, (int)bytes);
    }
    #else
    static void fl_keep_freed(size_t bytes) { (void)bytes; }
    #endif
    """
    void fl_keep_freed(size_t bytes) nogil


def keep_freed(size_t size):
    """From now on the C library keeps up to so many bytes that were freed, in pieces of any size. At most 32 MiB.

    Otherwise it gives each unpacked frame back to the system, and has the next one paged in anew: a quarter of the time
    that unpacking takes.
    """
    fl_keep_freed(size)
