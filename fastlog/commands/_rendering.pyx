# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Renders ordinary lines of the log for people, in one pass. It must agree with `rendering.py` on any bytes.

The scanner checks each line first, so what walks over it afterwards knows that it is an entry. What is not ordinary is
left to `rendering.py`: nested values, keys with escapes, and characters that a terminal may obey or not show.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from fastlog._parse cimport ACCEPTED, LEVEL_COUNT, Piece, begin, next_piece
from fastlog._simd cimport Window, fl_skip_plain

cdef extern from "_utf8.h" nogil:
    int fl_utf8_size(const uint8_t *p, const uint8_t *end)

cdef enum:
    # More fields than a line for people has. Each is compared with those before it.
    FIELDS_MAX = 32
    # Of the spaces, hyphens and the padded level, which a line gets without having had them: 18 at most.
    ADDED_BYTES = 32
    LEVEL_WIDTH = 8
    # Room for so much is made at once.
    ROOM_AT_FIRST = 1 << 16

# Characters that are shown as they are, from the first of each pair to the second: those of most texts. None is a
# space, and `visible` escapes none.
cdef enum:
    RANGE_ENDS = 14
cdef uint32_t ranges[RANGE_ENDS]
ranges[:] = [
    0xA1, 0xAC, 0xAE, 0x34E, 0x370, 0x5FF, 0x2010, 0x2027, 0x2030, 0x205E, 0x3001, 0x3163, 0x3165, 0xD7FF
]

cdef enum Known:
    LEVEL, MESSAGE, APP, SEQUENCE, TIMESTAMP, RECEIVED, HOST, SOURCE
    KNOWN_COUNT

cdef const char *names[KNOWN_COUNT]
names[:] = [b"level", b"message", b"app", b"sequence", b"timestamp", b"received", b"host", b"source"]

cdef struct Text:
    const uint8_t *start
    size_t size

cdef struct Field:
    Text key
    # A string without its quotes, or anything else as it is written.
    Text value
    bint has_escapes
    # It is shown in a place of its own, or not at all.
    bint is_taken

cdef struct Fields:
    Field at[FIELDS_MAX]
    int count
    Field *known[KNOWN_COUNT]

cdef struct Output:
    uint8_t *text
    size_t size
    size_t room

cdef Field HYPHEN = Field(Text(b"", 0), Text(b"-", 1), False, False)


cdef inline const uint8_t *skip_space(const uint8_t *p) noexcept nogil:
    while p[0] == c' ' or p[0] == c'\t' or p[0] == c'\r':
        p += 1
    return p


cdef size_t shown_size(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Bytes of a character beyond ASCII that is shown as it is, or 0."""
    cdef int size = fl_utf8_size(p, end)
    cdef uint32_t code
    cdef int i
    if size == 2:
        code = (p[0] & 0x1F) << 6 | (p[1] & 0x3F)
    elif size == 3:
        code = (p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F)
    else:
        return 0
    for i in range(0, <int>RANGE_ENDS, 2):
        if ranges[i] <= code <= ranges[i + 1]:
            return size
    return 0


cdef const uint8_t *read_string(
    const uint8_t *p, const uint8_t *start, const uint8_t *end, Window *window, bint only_ascii, bint *has_escapes
) noexcept nogil:
    """p: after the opening quote. Returns the closing one, or NULL if the string is not ordinary."""
    cdef size_t size
    has_escapes[0] = False
    while True:
        p = fl_skip_plain(p, end, start, window)
        if p[0] == c'"':
            return p
        if p[0] == c'\\':
            if memchr(b'"\\/nrt', p[1], 6) == NULL:
                return NULL
            has_escapes[0] = True
            p += 2
        else:
            size = 0 if only_ascii else shown_size(p, end)
            if size == 0:
                return NULL
            p += size


cdef bint note_field(Fields *fields, const Field *field) noexcept nogil:
    """Returns False if a field before it has the same key: a later one takes its place, which is not ordinary."""
    cdef const Field *other
    cdef int i
    for i in range(fields.count):
        other = &fields.at[i]
        if other.key.size == field.key.size and memcmp(other.key.start, field.key.start, field.key.size) == 0:
            return False
    fields.at[fields.count] = field[0]
    for i in range(<int>KNOWN_COUNT):
        if strlen(names[i]) == field.key.size and memcmp(names[i], field.key.start, field.key.size) == 0:
            fields.known[i] = &fields.at[fields.count]
    fields.count += 1
    return True


cdef bint read_fields(const uint8_t *p, const uint8_t *end, bint only_ascii, Fields *fields) noexcept nogil:
    """Whether the entry in [p, end) is ordinary. `p` is at its bracket."""
    cdef const uint8_t *start = p
    cdef Window window
    cdef Field field
    cdef bint has_escapes
    window.at = NULL
    fields.count = 0
    memset(fields.known, 0, sizeof(fields.known))
    field.is_taken = False
    while True:
        p = skip_space(p + 1) + 1  # behind the bracket or a comma, and the quote of a key
        field.key.start = p
        p = read_string(p, start, end, &window, only_ascii, &has_escapes)
        if p == NULL or has_escapes or fields.count == FIELDS_MAX:
            return False
        field.key.size = p - field.key.start
        p = skip_space(skip_space(p + 1) + 1)
        field.has_escapes = False
        if p[0] == c'"':
            field.value.start = p + 1
            p = read_string(p + 1, start, end, &window, only_ascii, &field.has_escapes)
            if p == NULL:
                return False
            field.value.size = p - field.value.start
            p += 1
        elif p[0] == c'{' or p[0] == c'[':
            return False
        else:
            field.value.start = p
            while p[0] > c' ' and p[0] != c',' and p[0] != c'}':
                p += 1
            field.value.size = p - field.value.start
        if not note_field(fields, &field):
            return False
        p = skip_space(p)
        if p[0] == c'}':
            return True


cdef const Field *first_of(Fields *fields, Known said, Known recorded) noexcept nogil:
    """Takes what the sender says out of the fields, or else what the server recorded."""
    cdef Field *field = fields.known[<int>said]
    if field != NULL:
        field.is_taken = True
        if field.value.size:
            return field
    field = fields.known[<int>recorded]
    if field != NULL:
        field.is_taken = True
        if field.value.size:
            return field
    return &HYPHEN


cdef inline void put(Output *output, const uint8_t *text, size_t size) noexcept nogil:
    memcpy(output.text + output.size, text, size)
    output.size += size


cdef inline void put_byte(Output *output, uint8_t byte) noexcept nogil:
    output.text[output.size] = byte
    output.size += 1


cdef void put_value(Output *output, const Field *field) noexcept nogil:
    """A line feed, a carriage return and a tab stay escaped, as `visible` has them."""
    cdef const uint8_t *p = field.value.start
    cdef const uint8_t *end = p + field.value.size
    cdef const uint8_t *escape
    while field.has_escapes:
        escape = <const uint8_t *>memchr(p, c'\\', end - p)
        if escape == NULL:
            break
        put(output, p, escape - p)
        if escape[1] == c'n' or escape[1] == c'r' or escape[1] == c't':
            put_byte(output, c'\\')
        put_byte(output, escape[1])
        p = escape + 2
    put(output, p, end - p)


cdef bint is_bare(const Field *field) noexcept nogil:
    """Whether the value's end is plain without quotes."""
    cdef const uint8_t *p = field.value.start
    cdef const uint8_t *end = p + field.value.size
    if p == end:
        return False
    if p[0] == c'{' or p[0] == c'[':
        return True
    if memchr(p, c' ', end - p) != NULL:
        return False
    while field.has_escapes:
        p = <const uint8_t *>memchr(p, c'\\', end - p)
        if p == NULL:
            break
        if p[1] != c'\\' and p[1] != c'/':
            return False
        p += 2
    return True


cdef void put_rest(Output *output, const Fields *fields) noexcept nogil:
    cdef const Field *field
    cdef bint bare
    cdef int i
    for i in range(fields.count):
        field = &fields.at[i]
        if field.is_taken:
            continue
        put_byte(output, c' ')
        put(output, field.key.start, field.key.size)
        put_byte(output, c'=')
        bare = is_bare(field)
        if not bare:
            put_byte(output, c'"')
        put_value(output, field)
        if not bare:
            put_byte(output, c'"')


cdef bint is_ascii(const Text *text) noexcept nogil:
    cdef uint8_t bits = 0
    cdef size_t i
    for i in range(text.size):
        bits |= text.start[i]
    return bits < 0x80


cdef Text text_of(bytes text) except *:
    return Text(text, len(text))


cdef class Renderer:
    """`dim` begins the time, `colours` the level, in the order of entry.LEVELS, and `plain` ends both; all may be
    empty. `only_ascii`: a line with other characters is not ordinary."""

    cdef object _kept
    cdef Text _dim
    cdef Text _plain
    cdef Text _colours[LEVEL_COUNT]
    cdef bint _only_ascii
    cdef size_t _added

    def __cinit__(self, bytes dim not None, list colours not None, bytes plain not None, bint only_ascii):
        if len(colours) != LEVEL_COUNT:
            raise ValueError("a colour for each level")
        self._kept = dim, list(colours), plain
        self._dim, self._plain, self._only_ascii = text_of(dim), text_of(plain), only_ascii
        for i in range(<int>LEVEL_COUNT):
            self._colours[i] = text_of(colours[i])
        self._added = ADDED_BYTES + len(dim) + 2 * len(plain) + max(map(len, colours))

    def render(self, const uint8_t[::1] block not None, list runs not None):
        """The ordinary lines of parts of a block, each of which consists of whole lines, and the others: where in the
        text each belongs, and where it begins and ends in the block, without its line feed."""
        cdef Output output = Output(NULL, 0, 0)
        cdef Py_ssize_t start, end
        cdef list others = []
        try:
            for start, end in runs:
                if not 0 <= start <= end <= block.shape[0]:
                    raise ValueError("not a part of the block")
                if start < end:
                    with nogil:
                        self._add_lines(&block[0], &block[0] + start, &block[0] + end, &output, others)
            return PyBytes_FromStringAndSize(<const char *>output.text, output.size), others
        finally:
            PyMem_RawFree(output.text)

    cdef int _add_lines(
        self, const uint8_t *base, const uint8_t *p, const uint8_t *stop, Output *output, list others
    ) except -1 nogil:
        cdef const uint8_t *end
        while p < stop:
            end = <const uint8_t *>memchr(p, c'\n', stop - p)
            if end == NULL:
                end = stop
            self._make_room(output, end - p + self._added)
            if not self._add_line(p, end, output):
                with gil:
                    others.append((<Py_ssize_t>output.size, p - base, end - base))
            p = end + 1
        return 0

    cdef int _make_room(self, Output *output, size_t size) except -1 nogil:
        cdef size_t room
        cdef void *moved
        if output.room - output.size >= size:
            return 0
        room = 2 * output.room + size + ROOM_AT_FIRST
        moved = PyMem_RawRealloc(output.text, room)
        if moved == NULL:
            with gil:
                raise MemoryError
        output.text = <uint8_t *>moved
        output.room = room
        return 0

    cdef bint _add_line(self, const uint8_t *p, const uint8_t *end, Output *output) noexcept nogil:
        """Returns False if it is not ordinary. An entry's text never takes more than the entry and `_added`."""
        cdef Piece piece
        cdef Fields fields
        cdef const Field *level
        cdef const Field *app
        cdef size_t padded
        cdef int i
        begin(&piece, False)
        if not next_piece(p, end, &piece) or piece.reason != ACCEPTED or piece.next != end:
            return False
        if memchr(p, 0x7F, end - p) != NULL or not read_fields(piece.start, end, self._only_ascii, &fields):
            return False
        level = fields.known[<int>LEVEL]
        if level.has_escapes or not is_ascii(&level.value):  # it is padded by its characters
            return False
        app = &HYPHEN
        if fields.known[<int>APP] != NULL:
            app = fields.known[<int>APP]
        for i in range(<int>TIMESTAMP):
            if fields.known[i] != NULL:
                fields.known[i].is_taken = True
        put(output, self._dim.start, self._dim.size)
        put_value(output, first_of(&fields, TIMESTAMP, RECEIVED))
        put(output, self._plain.start, self._plain.size)
        put_byte(output, c' ')
        put(output, self._colours[<int>piece.level].start, self._colours[<int>piece.level].size)
        padded = output.size + LEVEL_WIDTH
        put_value(output, level)
        while output.size < padded:
            put_byte(output, c' ')
        put(output, self._plain.start, self._plain.size)
        put_byte(output, c' ')
        put_value(output, app)
        put_byte(output, c' ')
        put_value(output, first_of(&fields, HOST, SOURCE))
        put_byte(output, c' ')
        put_value(output, fields.known[<int>MESSAGE])
        put_rest(output, &fields)
        put_byte(output, c'\n')
        return True
