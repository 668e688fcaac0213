# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The side of the line buffer that the writer uses after a drain has filled it."""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove


cdef class LineBuffer:
    """Lines that no file holds yet, with their line feeds; its bytes are good until `forget` or the next drain."""

    def __cinit__(self):
        self.start = <uint8_t *>malloc(LINES_BYTES)
        if self.start == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.start)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.start, self.size, 1, flags)

    def priority_lines(self, size_t size, awaited=None):
        """A copy of the priority entries' lines among the first `size` bytes, in order; and how many they are.
        `awaited`: only those for which an ACK is owed, or only the others; None: all of them."""
        cdef bint all_of_them = awaited is None, wanted = bool(awaited)
        cdef unsigned int i, until = 0, count = 0
        cdef size_t total = 0
        cdef bytes copy
        cdef char *at
        while until < self.priority_count and self.priority[until].offset < size:
            if all_of_them or self.priority[until].awaited == wanted:
                total += self.priority[until].size
                count += 1
            until += 1
        copy = PyBytes_FromStringAndSize(NULL, total)
        at = copy
        for i in range(until):
            if all_of_them or self.priority[i].awaited == wanted:
                memcpy(at, self.start + self.priority[i].offset, self.priority[i].size)
                at += self.priority[i].size
        return copy, count

    def drop_priority_lines(self):
        """Takes the priority entries' lines out of the buffer."""
        cdef size_t from_here = 0, to_here = 0, size
        cdef unsigned int i
        for i in range(self.priority_count):
            size = self.priority[i].offset - from_here
            memmove(self.start + to_here, self.start + from_here, size)
            to_here += size
            from_here = self.priority[i].offset + self.priority[i].size
        memmove(self.start + to_here, self.start + from_here, self.size - from_here)
        self.size -= from_here - to_here
        self.entries -= self.priority_count
        self.priority_count = 0

    def forget(self, size_t size, uint64_t entries):
        """The first `size` bytes, which hold that many entries, are in the file or lost."""
        cdef unsigned int i, kept = 0
        self.size -= size
        self.entries -= entries
        memmove(self.start, self.start + size, self.size)
        for i in range(self.priority_count):
            if self.priority[i].offset >= size:
                self.priority[kept] = self.priority[i]
                self.priority[kept].offset -= size
                kept += 1
        self.priority_count = kept

    def clear(self):
        """All of it is in the file or lost."""
        self.size = self.entries = self.priority_count = 0
