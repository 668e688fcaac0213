# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The scanner of the hot path: it finds and checks the JSON entries of a datagram.

It reads once from left to right, and the first error decides the reason. A function that fails returns NULL and leaves
the reason in `Seen`. `fl_skip_plain` skips strings in vector steps. Numbers are checked, but not converted, except
`sequence`. Nested values take one bit of memory for each open bracket, so no input can exhaust the stack.
"""

from libc.stdint cimport UINT64_MAX
from libc.string cimport memchr, memcmp, memcpy, memset

from fastlog._simd cimport fl_eight_digits, fl_skip_plain, likely

from fastlog.entry import ALIASES, EMPTY, LEVELS, REASONS

REASON_NAMES = tuple(REASONS)

cdef extern from "_utf8.h" nogil:
    int fl_utf8_size(const uint8_t *p, const uint8_t *end)

cdef enum:
    # More than the bytes of any name that is compared, of a field or a level.
    NAME_MAX = 16
    # Of the aliases' table: a power of two, and at least two for each alias, so that a look-up ends soon.
    ALIAS_PLACES = 256

# An alias of a level, in capital letters. Its place in the table follows from its hash; size 0: the place is free.
cdef struct Alias:
    uint8_t name[NAME_MAX]
    uint8_t size
    Level level

cdef Alias aliases[ALIAS_PLACES]

cdef enum Field:
    # The first KEPT_FIELDS are those of which the scanner keeps where their text is. VERSION and SHORT_MESSAGE are
    # GELF's. RECEIVED and SOURCE are those of entry.STAMP_KEYS.
    LEVEL, TIMESTAMP, HOST, APP, RECEIVED, VERSION, MESSAGE, SEQUENCE, SHORT_MESSAGE, SOURCE, UNKNOWN
    FIELD_COUNT
    KEPT_FIELDS = 6

cdef enum Kind:
    # What a field's value is. SEQUENCE_NUMBER is for `sequence` only: no other number is read.
    ABSENT, TEXT, SEQUENCE_NUMBER, SOMETHING_ELSE

# A string between its quotes.
cdef struct Text:
    const uint8_t *start
    const uint8_t *end
    bint escaped

# What the scanner has read of one entry so far. A key that occurs twice overwrites: the last one counts.
cdef struct Seen:
    # Why reading ended, and for DEPTH only, where.
    Reason reason
    const uint8_t *failed_at
    # The first byte of the piece.
    const uint8_t *start
    Window *window
    # For each of the `depth` open brackets, the outermost first: its position if it is an object at the beginning of a
    # line, otherwise NULL.
    int depth
    const uint8_t *opened[MAX_DEPTH]
    bint folded
    # Whether the string skipped last holds an escape.
    bint escaped
    # The Kind of each field; all unknown fields share one.
    uint8_t kind[FIELD_COUNT]
    uint64_t sequence
    # Those of the fields whose kind is TEXT.
    Text text[KEPT_FIELDS]


cdef inline const uint8_t *fail(Seen *seen, Reason reason) noexcept nogil:
    seen.reason = reason
    return NULL


cdef inline const uint8_t *skip_space(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    if likely(p < end and p[0] > 0x20):
        return p
    return skip_some_space(p, end, seen)


cdef const uint8_t *skip_some_space(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    while p < end and p[0] <= 0x20:
        if p[0] == c'\n' or p[0] == c'\r':
            seen.folded = True
        elif p[0] != c' ' and p[0] != c'\t':
            break
        p += 1
    return p


cdef const uint8_t *skip_escape(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    """p: at the backslash."""
    cdef int unit
    if end - p < 2:
        return fail(seen, SYNTAX)
    if p[1] in (c'"', c'\\', c'/', c'b', c'f', c'n', c'r', c't'):
        return p + 2
    unit = hex4(p + 2) if p[1] == c'u' and end - p >= 6 else -1
    if unit < 0:
        return fail(seen, SYNTAX)
    if not 0xD800 <= unit <= 0xDFFF:
        return p + 6
    # Half a surrogate pair is valid JSON, but it is not a character that UTF-8 can hold.
    if unit < 0xDC00 and end - p >= 12 and p[6] == c'\\' and p[7] == c'u' and 0xDC00 <= hex4(p + 8) <= 0xDFFF:
        return p + 12
    return fail(seen, UTF8)


cdef inline const uint8_t *skip_string(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    """p: after the opening quote. Returns the byte after the closing one."""
    p = fl_skip_plain(p, end, seen.start, seen.window)
    seen.escaped = False
    if likely(p != end and p[0] == c'"'):
        return p + 1
    return skip_rest_of_string(p, end, seen)


cdef const uint8_t *skip_rest_of_string(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    """p: at the first byte of a string that is not plain, or the end."""
    cdef int size
    while True:
        if p == end:
            return fail(seen, SYNTAX)
        if p[0] == c'"':
            return p + 1
        if p[0] >= 0x80:
            size = fl_utf8_size(p, end)
            if size == 0:
                return fail(seen, UTF8)
            p += size
            if p != end and p[0] >= 0x80:  # in most scripts such characters follow each other
                continue
        elif p[0] == c'\\':
            seen.escaped = True
            p = skip_escape(p, end, seen)
            if p == NULL:
                return NULL
        else:
            return fail(seen, SYNTAX)
        p = fl_skip_plain(p, end, seen.start, seen.window)


cdef inline const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end) noexcept nogil:
    cdef uint64_t value
    while end - p >= 8 and fl_eight_digits(p, &value):
        p += 8
    while p < end and c'0' <= p[0] <= c'9':
        p += 1
    return p


cdef const uint8_t *skip_number(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    cdef const uint8_t *digits
    if p < end and p[0] == c'-':
        p += 1
    digits = p
    if p < end and p[0] == c'0':
        p += 1
    else:
        p = skip_digits(p, end)
    if p == digits:
        return fail(seen, SYNTAX)
    if p < end and p[0] == c'.':
        digits = p + 1
        p = skip_digits(digits, end)
        if p == digits:
            return fail(seen, SYNTAX)
    if p < end and (p[0] | 0x20) == c'e':
        p += 1
        if p < end and (p[0] == c'+' or p[0] == c'-'):
            p += 1
        digits = p
        p = skip_digits(digits, end)
        if p == digits:
            return fail(seen, SYNTAX)
    return p


cdef inline const uint8_t *skip_word(
    const uint8_t *p, const uint8_t *end, const char *word, Py_ssize_t size, Seen *seen
) noexcept nogil:
    cdef Py_ssize_t i
    if end - p < size:
        return fail(seen, SYNTAX)
    for i in range(size):
        if p[i] != <uint8_t>word[i]:
            return fail(seen, SYNTAX)
    return p + size


cdef inline const uint8_t *skip_scalar(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    """Any value but an object or an array."""
    if p == end:
        return fail(seen, SYNTAX)
    if p[0] == c'"':
        return skip_string(p + 1, end, seen)
    if p[0] == c't':
        return skip_word(p, end, b"true", 4, seen)
    if p[0] == c'f':
        return skip_word(p, end, b"false", 5, seen)
    if p[0] == c'n':
        return skip_word(p, end, b"null", 4, seen)
    return skip_number(p, end, seen)


cdef inline const uint8_t *skip_colon(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    if likely(end - p >= 2 and p[0] == c':' and p[1] > 0x20):  # in compact JSON
        return p + 1
    p = skip_space(p, end, seen)
    if p == end or p[0] != c':':
        return fail(seen, SYNTAX)
    return skip_space(p + 1, end, seen)


cdef inline const uint8_t *skip_key(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    """A key, its colon, and the whitespace around them."""
    if p == end or p[0] != c'"':
        return fail(seen, SYNTAX)
    p = skip_string(p + 1, end, seen)
    return p if p == NULL else skip_colon(p, end, seen)


cdef const uint8_t *skip_container(const uint8_t *p, const uint8_t *end, int depth, Seen *seen) noexcept nogil:
    """p: at the opening bracket of an object or array that stands inside `depth` others."""
    cdef int outside = depth
    cdef uint64_t objects = 0  # a bit for each bracket opened here, the innermost lowest: set for an object
    while True:  # a value begins at p
        if p < end and (p[0] == c'{' or p[0] == c'['):
            if depth == MAX_DEPTH:
                seen.failed_at = p
                return fail(seen, DEPTH)
            # p - 1 is in the datagram: the entry's own bracket comes before this one
            seen.opened[depth] = p if p[0] == c'{' and depth and (p - 1)[0] == c'\n' else NULL
            depth += 1
            seen.depth = depth
            objects = objects << 1 | (p[0] == c'{')
            p = skip_space(p + 1, end, seen)
            if p < end and p[0] != (c'}' if objects & 1 else c']'):
                if objects & 1:
                    p = skip_key(p, end, seen)
                    if p == NULL:
                        return NULL
                continue
        else:
            p = skip_scalar(p, end, seen)
            if p == NULL:
                return NULL
            p = skip_space(p, end, seen)
        while True:  # a value has ended: brackets close, or a comma leads to the next value
            if p == end:
                return fail(seen, SYNTAX)
            if p[0] == (c'}' if objects & 1 else c']'):
                p += 1
                objects >>= 1
                depth -= 1
                seen.depth = depth
                if depth == outside:
                    return p
                p = skip_space(p, end, seen)
            elif p[0] == c',':
                p = skip_space(p + 1, end, seen)
                if objects & 1:
                    p = skip_key(p, end, seen)
                    if p == NULL:
                        return NULL
                break
            else:
                return fail(seen, SYNTAX)


cdef inline const uint8_t *skip_value(const uint8_t *p, const uint8_t *end, int depth, Seen *seen) noexcept nogil:
    if likely(p < end and p[0] == c'"'):  # most values are strings
        return skip_string(p + 1, end, seen)
    if p < end and (p[0] == c'{' or p[0] == c'['):
        return skip_container(p, end, depth, seen)
    return skip_scalar(p, end, seen)


cdef size_t unescape(const uint8_t *p, const uint8_t *end, uint8_t *to) noexcept nogil:
    """The text of a valid string, NAME_MAX bytes at most; a character that is not ASCII becomes 0xFF."""
    cdef size_t size = 0
    cdef int unit
    while p < end and size < NAME_MAX:
        if p[0] != c'\\':
            to[size] = p[0]
            p += 1
        elif p[1] == c'u':
            unit = hex4(p + 2)
            to[size] = <uint8_t>unit if unit < 0x80 else 0xFF
            p += 6
        else:
            # No name has any of the other escaped characters, so any byte that is in no name will do.
            to[size] = 0xFF
            p += 2
        size += 1
    return size


cdef inline Field field_of(const uint8_t *p, size_t size) noexcept nogil:
    if size == 5:
        return LEVEL if memcmp(p, b"level", 5) == 0 else UNKNOWN
    if size == 7:
        if memcmp(p, b"message", 7) == 0:
            return MESSAGE
        return VERSION if memcmp(p, b"version", 7) == 0 else UNKNOWN
    if size == 8:
        if memcmp(p, b"sequence", 8) == 0:
            return SEQUENCE
        return RECEIVED if memcmp(p, b"received", 8) == 0 else UNKNOWN
    if size == 9:
        return TIMESTAMP if memcmp(p, b"timestamp", 9) == 0 else UNKNOWN
    if size == 3:
        return APP if memcmp(p, b"app", 3) == 0 else UNKNOWN
    if size == 4:
        return HOST if memcmp(p, b"host", 4) == 0 else UNKNOWN
    if size == 13:
        return SHORT_MESSAGE if memcmp(p, b"short_message", 13) == 0 else UNKNOWN
    if size == 6:
        return SOURCE if memcmp(p, b"source", 6) == 0 else UNKNOWN
    return UNKNOWN


cdef inline bint is_word(const uint8_t *p, const char *word, size_t size) noexcept nogil:
    """Compares without case. `word` is in capital letters; clearing bit 5 turns only letters into capital letters."""
    cdef size_t i
    for i in range(size):
        if (p[i] & 0xDF) != <uint8_t>word[i]:
            return False
    return True


cdef inline Level level_of(const uint8_t *p, size_t size) noexcept nogil:
    if size == 4:
        if is_word(p, b"INFO", 4):
            return INFO
    elif size == 5:
        if is_word(p, b"DEBUG", 5):
            return DEBUG
        if is_word(p, b"ERROR", 5):
            return ERROR
    elif size == 7:
        if is_word(p, b"WARNING", 7):
            return WARNING
    elif size == 8 and is_word(p, b"CRITICAL", 8):
        return CRITICAL
    return level_of_alias(p, size)


cdef Level level_named(const uint8_t *p, size_t size) noexcept nogil:
    return level_of(p, size)


cdef Level level_of_alias(const uint8_t *p, size_t size) noexcept nogil:
    cdef uint8_t name[NAME_MAX]
    cdef const Alias *found
    cdef size_t i
    if size >= NAME_MAX:
        return OTHER
    for i in range(size):
        name[i] = p[i] - 0x20 if c'a' <= p[i] <= c'z' else p[i]
    found = place_of_alias(name, size)
    return found.level if found.size else OTHER


cdef Alias *place_of_alias(const uint8_t *name, size_t size) noexcept nogil:
    """Where the table has this alias, or else the free place for it."""
    cdef unsigned int place = 0
    cdef size_t i
    for i in range(size):
        place = place * 31 + name[i]
    while True:
        place %= ALIAS_PLACES
        if aliases[place].size == 0 or (aliases[place].size == size and memcmp(aliases[place].name, name, size) == 0):
            return &aliases[place]
        place += 1


cdef int fill_aliases() except -1:
    cdef bytes name
    cdef Alias *place
    if 2 * len(ALIASES) > ALIAS_PLACES or max(map(len, ALIASES)) >= NAME_MAX:
        raise RuntimeError("the scanner has no room for the aliases of levels")
    for alias, level in ALIASES.items():
        name = alias.encode()
        place = place_of_alias(name, len(name))
        memcpy(place.name, <const char *>name, len(name))
        place.size, place.level = len(name), LEVELS.index(level)
    return 0


fill_aliases()


cdef inline bint read_sequence(const uint8_t *p, const uint8_t *end, uint64_t *value) noexcept nogil:
    """Returns False if the number is not written in digits alone, or is greater than 2^64 - 1."""
    cdef uint64_t n = 0, digits
    if end - p > 20:
        return False
    while end - p >= 8 and fl_eight_digits(p, &digits):
        n = n * 100_000_000 + digits  # 16 digits at most, so it fits
        p += 8
    while p < end:
        if not c'0' <= p[0] <= c'9':
            return False
        digits = p[0] - c'0'
        if n > (UINT64_MAX - digits) // 10:
            return False
        n = n * 10 + digits
        p += 1
    value[0] = n
    return True


cdef inline const uint8_t *skip_entry(const uint8_t *p, const uint8_t *end, Seen *seen) noexcept nogil:
    """p: after the `{`. Returns the byte after its `}`."""
    cdef const uint8_t *key
    cdef const uint8_t *value
    cdef uint8_t name[NAME_MAX]
    cdef Field field
    p = skip_space(p, end, seen)
    if p < end and p[0] == c'}':
        return p + 1
    while True:
        if p == end or p[0] != c'"':
            return fail(seen, SYNTAX)
        key = p + 1
        p = skip_string(key, end, seen)
        if p == NULL:
            return NULL
        if seen.escaped:
            field = field_of(name, unescape(key, p - 1, name))
        else:
            field = field_of(key, p - 1 - key)
        value = skip_colon(p, end, seen)
        if value == NULL:
            return NULL
        p = skip_value(value, end, 1, seen)
        if p == NULL:
            return NULL
        if value[0] == c'"':
            seen.kind[<int>field] = TEXT
            if field < KEPT_FIELDS:
                seen.text[<int>field] = Text(value + 1, p - 1, seen.escaped)
        elif field == SEQUENCE and read_sequence(value, p, &seen.sequence):
            seen.kind[<int>field] = SEQUENCE_NUMBER
        else:
            seen.kind[<int>field] = SOMETHING_ELSE
        if likely(end - p >= 2 and p[0] == c',' and p[1] == c'"'):  # in compact JSON
            p += 1
            continue
        p = skip_space(p, end, seen)
        if p == end:
            return fail(seen, SYNTAX)
        if p[0] == c'}':
            return p + 1
        if p[0] != c',':
            return fail(seen, SYNTAX)
        p = skip_space(p + 1, end, seen)


cdef inline Reason judge(const Seen *seen) noexcept nogil:
    """Whether the object that was walked is an entry."""
    if seen.kind[<int>LEVEL] != TEXT:
        return BAD_LEVEL
    if seen.kind[<int>MESSAGE] != TEXT:
        return BAD_MESSAGE
    if seen.kind[<int>SEQUENCE] not in (ABSENT, SEQUENCE_NUMBER):
        return BAD_SEQUENCE
    if SOMETHING_ELSE in (seen.kind[<int>TIMESTAMP], seen.kind[<int>APP], seen.kind[<int>HOST]):
        return BAD_FIELD
    return ACCEPTED


cdef bint means_gelf(const Seen *seen) noexcept nogil:
    """Whether the object that was walked, and is not an entry, means to be GELF, though it may lack a message."""
    cdef uint8_t name[NAME_MAX]
    cdef const Text *text = &seen.text[<int>VERSION]
    if seen.kind[<int>SHORT_MESSAGE] != ABSENT:
        return True
    return (
        seen.kind[<int>VERSION] == TEXT
        and unescape(text.start, text.end, name) == 3
        and (memcmp(name, b"1.0", 3) == 0 or memcmp(name, b"1.1", 3) == 0)
    )


cdef const uint8_t *next_line(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """The first `{` at the beginning of a line after the line of p, or `end`."""
    while True:
        p = <const uint8_t *>memchr(p, c'\n', end - p)
        if p == NULL or p + 1 == end:
            return end
        p += 1
        if p[0] == c'{':
            return p


cdef void reject(const uint8_t *known, const uint8_t *end, Reason reason, Piece *piece) noexcept nogil:
    """Rejects the piece, which reaches to the first line after `known` that could be an entry."""
    piece.reason = reason
    piece.is_gelf = False
    piece.next = next_line(known, end)
    piece.end = piece.next
    while piece.end > piece.start and (piece.end - 1)[0] in (c' ', c'\t', c'\r', c'\n'):
        piece.end -= 1


cdef void reject_broken(const Seen *seen, const uint8_t *end, Piece *piece) noexcept nogil:
    """Nobody can know where a broken piece ends, so reading continues with the next line.

    A piece that is too deep is different: its lines up to the bracket that was too deep are inside it.
    """
    cdef int i
    if seen.reason == DEPTH:
        reject(seen.failed_at - 1, end, DEPTH, piece)
        return
    reject(piece.start, end, seen.reason, piece)
    # An object that was open when reading failed would fail at the same byte, for the same reason.
    piece.doom = seen.reason
    piece.doomed_count = 0
    for i in range(seen.depth - 1, 0, -1):
        if seen.opened[i] != NULL:
            piece.doomed[piece.doomed_count] = seen.opened[i]
            piece.doomed_count += 1


cdef inline bint is_doomed(const uint8_t *p, Piece *piece) noexcept nogil:
    """Whether the line at p is doomed. The first doomed line is the last in the list; lines before p are removed."""
    while piece.doomed_count and piece.doomed[piece.doomed_count - 1] < p:
        piece.doomed_count -= 1
    return piece.doomed_count != 0 and piece.doomed[piece.doomed_count - 1] == p


cdef inline const uint8_t *text_of(const Seen *seen, Field field) noexcept nogil:
    return seen.text[<int>field].start if seen.kind[<int>field] == TEXT else NULL


cdef bint next_piece(const uint8_t *p, const uint8_t *end, Piece *piece) noexcept nogil:
    cdef Seen seen
    cdef const uint8_t *after
    cdef const Text *text
    cdef uint8_t name[NAME_MAX]
    p = skip_space(p, end, &seen)
    if p == end:
        return False
    piece.start = seen.start = p
    seen.window = &piece.window
    if is_doomed(p, piece):
        reject(p, end, piece.doom, piece)
        return True
    seen.folded = False
    seen.depth = 0
    memset(seen.kind, ABSENT, sizeof(seen.kind))
    if p[0] == c'{':
        seen.depth = 1
        after = skip_entry(p + 1, end, &seen)
    else:
        after = skip_value(p, end, 0, &seen)
    if after == NULL:
        reject_broken(&seen, end, piece)
        return True
    piece.folded = seen.folded
    piece.next = skip_space(after, end, &seen)
    if piece.next < end and piece.next[0] != c'{':
        reject(after, end, SYNTAX, piece)
        return True
    piece.reason = judge(&seen) if p[0] == c'{' else NOT_OBJECT
    piece.end = after
    if piece.reason != ACCEPTED:
        piece.is_gelf = piece.takes_gelf and piece.reason != NOT_OBJECT and means_gelf(&seen)
        if not piece.is_gelf:
            reject(after, end, piece.reason, piece)
        return True
    text = &seen.text[<int>LEVEL]
    if text.escaped:
        piece.level = level_of(name, unescape(text.start, text.end, name))
    else:
        piece.level = level_of(text.start, text.end - text.start)
    piece.timestamp = text_of(&seen, TIMESTAMP)
    piece.host = text_of(&seen, HOST)
    piece.app = text_of(&seen, APP)
    piece.received = text_of(&seen, RECEIVED)
    piece.has_stamp_key = seen.kind[<int>RECEIVED] != ABSENT or seen.kind[<int>SOURCE] != ABSENT
    piece.has_sequence = seen.kind[<int>SEQUENCE] == SEQUENCE_NUMBER
    piece.sequence = seen.sequence if piece.has_sequence else 0
    return True


cdef size_t store(const Piece *piece, uint8_t *to) noexcept nogil:
    cdef size_t size = piece.end - piece.start, i
    memcpy(to, piece.start, size)
    if piece.folded:
        # Inside a string a CR or LF would have been an error, so all of them are between tokens.
        for i in range(size):
            if to[i] == c'\n' or to[i] == c'\r':
                to[i] = c' '
    to[size] = c'\n'
    return size + 1


cdef size_t store_renamed(const Piece *piece, uint8_t *to) noexcept nogil:
    cdef Seen seen
    cdef Window window
    cdef Piece part = piece[0]  # what comes up to the next underscore
    cdef const uint8_t *p = skip_space(piece.start + 1, piece.end, &seen)
    cdef const uint8_t *key
    cdef uint8_t name[NAME_MAX]
    cdef size_t size = 0
    window.at = NULL
    seen.start, seen.window = piece.start, &window
    while p[0] == c'"':
        key = p + 1
        p = skip_string(key, piece.end, &seen)
        if field_of(name, unescape(key, p - 1, name)) in (RECEIVED, SOURCE):
            part.end = key
            size += store(&part, to + size)
            to[size - 1] = c'_'  # in place of the line feed
            part.start = key
        p = skip_space(skip_value(skip_colon(p, piece.end, &seen), piece.end, 1, &seen), piece.end, &seen)
        p = skip_space(p + 1, piece.end, &seen)  # behind the comma, or the closing bracket
        if p == piece.end:
            break
    part.end = piece.end
    return size + store(&part, to + size)


def scan(const uint8_t[::1] datagram not None, bint takes_gelf=False):
    """The scanner's verdict on one datagram, in the terms of `fastlog.entry.decode`: for Python code that prepares or
    checks entries. The server does not call it."""
    cdef uint8_t nothing = 0  # stands for the bytes of an empty datagram: C allows no arithmetic on NULL
    cdef const uint8_t *start = &datagram[0] if datagram.shape[0] else &nothing
    cdef const uint8_t *end = start + datagram.shape[0]
    cdef const uint8_t *p = start
    cdef Piece piece
    cdef bytearray line
    found = []
    begin(&piece, takes_gelf)
    while p != end and next_piece(p, end, &piece):
        p = piece.next
        if piece.reason == ACCEPTED:
            line = bytearray(piece.end - piece.start + 1)
            store(&piece, line)
            found.append((None, LEVELS[<int>piece.level], piece.sequence if piece.has_sequence else None,
                          piece.start - start, piece.end - start, bytes(line), has_timestamp(&piece), False))
        else:
            found.append((REASON_NAMES[<int>piece.reason], None, None, piece.start - start, piece.end - start, None,
                          False, piece.is_gelf))
    return found or [(EMPTY, None, None, 0, 0, None, False, False)]
