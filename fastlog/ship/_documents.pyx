# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The lines of a batch as documents of `_bulk`, in one pass. It must agree with `documents.py` on any bytes.

The scanner checks each line first. So what walks over a line afterwards knows that it is valid JSON.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, strlen

from fastlog._parse cimport ACCEPTED, BAD_LEVEL, Piece, begin, hex4, next_piece

from fastlog._parse import REASON_NAMES
from fastlog.entry import EMPTY
from fastlog.ship.documents import YEAR_MAX, YEAR_MIN, RESERVED, Documents

cdef extern from "logs/_find.h" nogil:
    # Where `needle` begins first in [p, end), or NULL.
    const uint8_t *fl_find(const uint8_t *p, const uint8_t *end, const uint8_t *needle, size_t size, uint8_t fold)

cdef enum:
    # The longest is 2026-11-26T08:30:00.123456789+01:00.
    TIME_MAX_BYTES = 35
    # The digits of 2^64 - 1.
    OFFSET_MAX_BYTES = 20
    # More than the bytes of `"}}`, `"@timestamp":"",` and two line feeds.
    MARKS_BYTES = 32
    # A key that is renamed takes so many bytes of a line or more, with its value, and becomes one byte longer.
    RENAMED_MIN_BYTES = 7
    # More than the bytes of any reserved key.
    NAME_MAX = 24
    RESERVED_COUNT = 16
    FIRST_YEAR = 1971
    LAST_YEAR = 2261
    TIME_KEY_COUNT = 3

if (FIRST_YEAR, LAST_YEAR) != (YEAR_MIN, YEAR_MAX):
    raise RuntimeError("documents.py takes other years")

# The keys that may say when an entry was logged, in the order in which they are believed, and others.
cdef enum Key:
    OWN, RECEIVED, SENT, RESERVED_KEY, OTHER_KEY

cdef char reserved[RESERVED_COUNT][NAME_MAX]


cdef int fill_reserved() except -1:
    cdef bytes name
    cdef int i
    if len(RESERVED) != RESERVED_COUNT or max(map(len, RESERVED)) >= NAME_MAX:
        raise RuntimeError("there is no room for the reserved keys")
    for i in range(RESERVED_COUNT):
        name = RESERVED[i].encode()
        memcpy(reserved[i], <const char *>name, len(name) + 1)
    return 0


fill_reserved()

# A string between its quotes. `start` is NULL where there is none.
cdef struct Text:
    const uint8_t *start
    const uint8_t *end

# What a walk over an object finds. A key that occurs twice overwrites: the last one counts.
cdef struct Found:
    Text times[TIME_KEY_COUNT]
    bint has_own
    bint has_reserved
    bint is_empty
    # The byte after the object.
    const uint8_t *end

cdef struct Time:
    uint8_t text[TIME_MAX_BYTES]
    size_t size


cdef inline const uint8_t *skip_space(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and p[0] <= 0x20:
        p += 1
    return p


cdef inline const uint8_t *after_string(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """p: after the opening quote. Returns the byte after the closing one."""
    cdef const uint8_t *quote = p
    cdef const uint8_t *back
    while True:
        quote = <const uint8_t *>memchr(quote, c'"', end - quote)
        if quote == NULL:
            return end
        back = quote
        while back > p and (back - 1)[0] == c'\\':
            back -= 1
        quote += 1
        if (quote - 1 - back) % 2 == 0:
            return quote


cdef const uint8_t *after_value(const uint8_t *p, const uint8_t *end) noexcept nogil:
    cdef int depth = 0
    while p < end:
        if p[0] == c'"':
            p = after_string(p + 1, end)
        elif p[0] == c'{' or p[0] == c'[':
            depth += 1
            p += 1
            continue
        elif p[0] == c'}' or p[0] == c']':
            depth -= 1
            p += 1
        elif depth:
            p += 1
            continue
        else:  # a number, or a word
            while p < end and p[0] > 0x20 and p[0] != c',' and p[0] != c'}' and p[0] != c']':
                p += 1
        if depth == 0:
            return p
    return p


cdef bint is_key(const uint8_t *p, const uint8_t *end, const char *name, size_t size) noexcept nogil:
    """Whether the string [p, end) means this name, which has no character that needs an escape."""
    cdef size_t i
    cdef int unit
    if <size_t>(end - p) == size:
        return memcmp(p, name, size) == 0
    for i in range(size):
        if p == end:
            return False
        unit = p[0]
        p += 1
        if unit == c'\\':
            if p[0] != c'u':
                return False
            unit = hex4(p + 1)
            p += 5
        if unit != name[i]:
            return False
    return p == end


cdef inline Key key_of(const uint8_t *p, const uint8_t *end) noexcept nogil:
    if p[0] == c'_' or p[0] == c'\\':
        if is_reserved(p, end):
            return RESERVED_KEY
    if end - p < 8:  # the shortest of those below
        return OTHER_KEY
    if is_key(p, end, b"@timestamp", 10):
        return OWN
    if is_key(p, end, b"received", 8):
        return RECEIVED
    return SENT if is_key(p, end, b"timestamp", 9) else OTHER_KEY


cdef bint is_reserved(const uint8_t *p, const uint8_t *end) noexcept nogil:
    cdef int i
    for i in range(RESERVED_COUNT):
        if is_key(p, end, reserved[i], strlen(reserved[i])):
            return True
    return False


cdef void walk(const uint8_t *p, const uint8_t *end, Found *found) noexcept nogil:
    """p: at the brace of a valid object, which ends before `end`."""
    cdef const uint8_t *key
    cdef Key which
    cdef int i
    for i in range(TIME_KEY_COUNT):
        found.times[i].start = NULL
    found.has_own = found.has_reserved = False
    p = skip_space(p + 1, end)
    found.is_empty = p[0] == c'}'
    while p[0] == c'"':
        key = p + 1
        p = after_string(key, end)
        which = key_of(key, p - 1)
        p = skip_space(skip_space(p, end) + 1, end)  # behind the colon
        if which >= RESERVED_KEY:
            found.has_reserved |= which == RESERVED_KEY
            p = after_value(p, end)
        else:
            found.has_own |= which == OWN
            found.times[<int>which].start = p + 1 if p[0] == c'"' else NULL
            p = after_value(p, end)
            found.times[<int>which].end = p - 1
        p = skip_space(p, end)
        if p[0] != c',':
            break
        p = skip_space(p + 1, end)
    found.end = p + 1


cdef uint8_t *rename(const uint8_t *p, const uint8_t *end, bint keeps_own, uint8_t *to) noexcept nogil:
    """Writes the object in [p, end) with `_` before reserved keys, and `@timestamp` unless it `keeps_own`."""
    cdef const uint8_t *copied = p
    cdef const uint8_t *key
    cdef Key which
    p = skip_space(p + 1, end)
    while p[0] == c'"':
        key = p + 1
        p = after_string(key, end)
        which = key_of(key, p - 1)
        if which == RESERVED_KEY or (which == OWN and not keeps_own):
            to = put(to, copied, key - copied)
            to[0] = c'_'
            to += 1
            copied = key
        p = skip_space(after_value(skip_space(skip_space(p, end) + 1, end), end), end)
        if p[0] != c',':
            break
        p = skip_space(p + 1, end)
    return put(to, copied, end - copied)


cdef inline uint8_t *put(uint8_t *to, const void *bytes_, size_t size) noexcept nogil:
    memcpy(to, bytes_, size)
    return to + size


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return <uint8_t>(c - c'0') <= 9


cdef inline int two_digits(const uint8_t *p) noexcept nogil:
    """The number that two digits at p make, or -1."""
    return 10 * (p[0] - c'0') + (p[1] - c'0') if is_digit(p[0]) and is_digit(p[1]) else -1


cdef bint is_day(int year, int month, int day) noexcept nogil:
    cdef int days = 30 + ((month + (month >> 3)) & 1)
    if month == 2:
        days = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return FIRST_YEAR <= year <= LAST_YEAR and 1 <= month <= 12 and 1 <= day <= days


cdef bint read_time(const Text *text, Time *time) noexcept nogil:
    """Whether the text is a time. Writes it as every engine takes it."""
    cdef const uint8_t *p = text.start
    cdef const uint8_t *end = text.end
    cdef uint8_t *to = time.text
    cdef int century, year, digits = 0
    if p == NULL or end - p < 19 or p[4] != c'-' or p[7] != c'-' or p[13] != c':' or p[16] != c':':
        return False
    century, year = two_digits(p), two_digits(p + 2)
    if century < 0 or year < 0 or not is_day(100 * century + year, two_digits(p + 5), two_digits(p + 8)):
        return False
    if p[10] != c'T' and p[10] != c't' and p[10] != c' ':
        return False
    if not (0 <= two_digits(p + 11) <= 23 and 0 <= two_digits(p + 14) <= 59 and 0 <= two_digits(p + 17) <= 59):
        return False
    to = put(to, p, 19)
    time.text[10] = c'T'
    p += 19
    if end - p >= 2 and (p[0] == c'.' or p[0] == c',') and is_digit(p[1]):
        to[0] = c'.'
        to += 1
        p += 1
        while p < end and is_digit(p[0]):
            if digits < 9:
                to[0] = p[0]
                to += 1
            digits += 1
            p += 1
    to = write_zone(p, end, to)
    if to == NULL:
        return False
    time.size = to - time.text
    return True


cdef uint8_t *write_zone(const uint8_t *p, const uint8_t *end, uint8_t *to) noexcept nogil:
    """Writes the zone that is all of [p, end). None means UTC. Returns where it ends, or NULL: it is not a zone."""
    cdef const uint8_t *minutes = p + 3
    if p == end or (end - p == 1 and (p[0] | 0x20) == c'z'):
        to[0] = c'Z'
        return to + 1
    if end - p < 5 or (p[0] != c'+' and p[0] != c'-'):
        return NULL
    if minutes[0] == c':':
        minutes += 1
    if end - minutes != 2 or not (0 <= two_digits(p + 1) <= 18 and 0 <= two_digits(minutes) <= 59):
        return NULL
    if two_digits(p + 1) == 18 and two_digits(minutes):
        return NULL
    to = put(to, p, 3)
    to[0] = c':'
    return put(to + 1, minutes, 2)


cdef uint8_t *write_document(const uint8_t *p, const Found *found, Time *time, uint8_t *to) noexcept nogil:
    """Writes the object at p with its time, and a line feed. `time`: that of the document before; set to its own."""
    cdef Time own
    cdef const Text *text = &found.times[<int>OWN]
    cdef uint8_t *brace
    cdef bint keeps_own
    cdef int i
    for i in range(TIME_KEY_COUNT):
        if read_time(&found.times[i], &own):
            time[0] = own
            break
    keeps_own = text.start != NULL and <size_t>(text.end - text.start) == time.size and (
        memcmp(text.start, time.text, time.size) == 0
    )
    if not keeps_own:
        to = put(to, b'{"@timestamp":"', 15)
        to = put(to, time.text, time.size)
        to[0] = c'"'
        to += not found.is_empty  # whose rest is only a brace, and no comma comes before it
    brace = to
    if found.has_reserved or (found.has_own and not keeps_own):
        to = rename(p, found.end, keeps_own, to)
    else:
        to = put(to, p, found.end - p)
    if not keeps_own:
        brace[0] = c'"' if found.is_empty else c','
    to[0] = c'\n'
    return to + 1


cdef inline uint8_t *write_number(uint64_t number, uint8_t *to) noexcept nogil:
    cdef uint8_t digits[OFFSET_MAX_BYTES]
    cdef int at = OFFSET_MAX_BYTES
    while True:
        at -= 1
        digits[at] = <uint8_t>(c'0' + number % 10)
        number = number // 10
        if not number:
            return put(to, &digits[at], OFFSET_MAX_BYTES - at)


cdef inline bint is_plain(const uint8_t *p, const uint8_t *end, const Piece *piece) noexcept nogil:
    """Whether the scanner has seen all that matters of an entry: of the keys that do, it has only `timestamp`."""
    return (
        piece.reason == ACCEPTED
        and not piece.has_stamp_key
        and memchr(p, c'@', end - p) == NULL
        and memchr(p, c'\\', end - p) == NULL
        and fl_find(p, end, b'"_', 2, 0) == NULL
    )


cdef object unfit(const uint8_t *p, const uint8_t *end, Piece *piece, Found *found):
    """Why the line is not one JSON object; None: it is, and `found` is what it has."""
    begin(piece, False)
    if p == end or not next_piece(p, end, piece):
        return EMPTY
    if 0 <= <int>piece.reason < <int>BAD_LEVEL:
        return REASON_NAMES[<int>piece.reason]
    if is_plain(p, end, piece):
        found.times[<int>OWN].start = found.times[<int>RECEIVED].start = NULL
        found.times[<int>SENT].start = piece.timestamp
        if piece.timestamp != NULL:
            found.times[<int>SENT].end = <const uint8_t *>memchr(piece.timestamp, c'"', end - piece.timestamp)
        found.has_own = found.has_reserved = found.is_empty = False
        found.end = piece.end
    else:
        walk(piece.start, end, found)
    return None if skip_space(found.end, end) == end else "syntax"


def documents(const uint8_t[::1] lines not None, bytes id_start not None, uint64_t offset, bytes time not None):
    """The documents of whole lines, as `fastlog.ship.documents.documents` has them."""
    cdef const uint8_t *p = &lines[0]
    cdef const uint8_t *stop = p + lines.shape[0]
    cdef const uint8_t *end
    cdef const uint8_t *feed = p
    cdef size_t count = 1, room
    cdef Piece piece
    cdef Found found
    cdef Time now
    cdef uint8_t *to
    cdef uint8_t *start
    if len(time) > TIME_MAX_BYTES:
        raise ValueError("not a time")
    now.size = len(time)
    memcpy(now.text, <const char *>time, now.size)
    while feed < stop and (feed := <const uint8_t *>memchr(feed, c'\n', stop - feed)) != NULL:
        count += 1
        feed += 1
    room = lines.shape[0] + lines.shape[0] // RENAMED_MIN_BYTES
    room += count * (len(id_start) + OFFSET_MAX_BYTES + TIME_MAX_BYTES + MARKS_BYTES)
    body = bytearray(room)
    start = to = <uint8_t *>PyByteArray_AS_STRING(body)
    ends, left_out = [], []
    while p < stop:
        end = <const uint8_t *>memchr(p, c'\n', stop - p)
        if end == NULL:
            end = stop
        reason = unfit(p, end, &piece, &found)
        if reason is None:
            to = put(to, <const char *>id_start, len(id_start))
            to = put(write_number(offset, to), b'"}}\n', 4)
            to = write_document(piece.start, &found, &now, to)
        else:
            left_out.append((len(ends), reason))
        ends.append(to - start)
        offset += end - p + 1
        p = end + 1
    del body[to - start:]
    return Documents(body, ends, left_out, now.text[:now.size])
