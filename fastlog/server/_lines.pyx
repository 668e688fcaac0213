# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The side of the line buffer that the writer uses after a drain has filled it."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdlib cimport free, malloc
from libc.string cimport memmove


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
        """Copies of the priority entries' lines among the first `size` bytes, in order."""
        cdef unsigned int i
        found = []
        for i in range(self.priority_count):
            if self.priority[i].offset < size:
                found.append((<const char *>self.start + self.priority[i].offset)[:self.priority[i].size])
        return found

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
