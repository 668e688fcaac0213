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

    def priority_lines(self, size_t size):
        """A copy of the priority entries' lines among the first `size` bytes, in order; and how many they are."""
        cdef unsigned int i, count = 0
        cdef size_t total = 0
        cdef bytes copy
        cdef char *at
        while count < self.priority_count and self.priority[count].offset < size:
            total += self.priority[count].size
            count += 1
        copy = PyBytes_FromStringAndSize(NULL, total)
        at = copy
        for i in range(count):
            memcpy(at, self.start + self.priority[i].offset, self.priority[i].size)
            at += self.priority[i].size
        return copy, count

    def take_priority_lines(self):
        """Takes the priority entries' lines out of the buffer; returns what `priority_lines` does."""
        cdef size_t from_here = 0, to_here = 0, size
        cdef unsigned int i
        taken = self.priority_lines(self.size)
        for i in range(self.priority_count):
            size = self.priority[i].offset - from_here
            memmove(self.start + to_here, self.start + from_here, size)
            to_here += size
            from_here = self.priority[i].offset + self.priority[i].size
        memmove(self.start + to_here, self.start + from_here, self.size - from_here)
        self.size -= from_here - to_here
        self.entries -= self.priority_count
        self.priority_count = 0
        return taken

    def forget(self, size_t size, uint64_t entries):
        """The first `size` bytes, which hold that many entries, are in the file or lost."""
        cdef unsigned int i, kept = 0
        self.size -= size
        self.entries -= entries
        memmove(self.start, self.start + size, self.size)
        for i in range(self.priority_count):
            if self.priority[i].offset >= size:
                self.priority[kept] = PriorityLine(self.priority[i].offset - size, self.priority[i].size)
                kept += 1
        self.priority_count = kept

    def clear(self):
        """All of it is in the file or lost."""
        self.size = self.entries = self.priority_count = 0
