# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A GELF object as an entry's line. It must agree with `gelf.py`, the reference, on any bytes.

The object is valid JSON, which the scanner has walked, and ends with its bracket: so no step here asks for an end. A
first walk finds the members and what the line needs to know of them; the line is written in a second one.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from fastlog._parse cimport (
    BAD_FIELD,
    BAD_MESSAGE,
    INFO,
    LEVEL_COUNT,
    OTHER,
    hex4,
    level_named,
)
from fastlog._simd cimport Window, fl_eight_digits, fl_skip_plain, likely
from fastlog._moment cimport LAST_DAY, TIME_BYTES, USEC, read_moment, write_moment

from fastlog.entry import ALIASES, LEVELS, SEVERITIES

cdef extern from "inputs/_text.h" nogil:
    uint8_t *fl_copy(uint8_t *to, const uint8_t *p, const uint8_t *end)

cdef enum:
    # See gelf.py.
    BARE_MAX = 32
    NAME_MAX_BYTES = 64
    UNDERSCORES_MAX = 8
    LEVEL_TEXT_MAX = 15
    TIME_TEXT_MAX = 64
    FAR = 10_000_000
    # Members that the first walk keeps for the second one, which walks again over those behind them: more than GELF
    # libraries send.
    MEMBERS_KEPT = 48
    SEVERITY_COUNT = 8
    # Room for the beginning of a line, up to its message.
    BEGINNING_ROOM = 32

cdef int64_t LAST_USEC = (LAST_DAY + 1LL) * 86_400 * USEC - 1
# More than any number that means something here.
cdef uint64_t TOO_LARGE = 1_000_000_000_000_000_000

cdef enum Name:
    # What is behind the underscores of a key. Of these, the line has the server's own; a key without an underscore gets
    # one.
    LEVEL, MESSAGE, APP, SEVERITY, STAMP, RECEIVED, SOURCE, SEQUENCE
    RENAMED_COUNT
    # These are taken, too: a key with an underscore keeps it.
    TIMESTAMP = RENAMED_COUNT
    HOST, FACILITY, PID, MSGID, SEQNO, SD, CHARSET, ID, SHORT_MESSAGE
    TAKEN_COUNT
    VERSION = TAKEN_COUNT
    CONTAINER_NAME, ANY_NAME
    NAME_COUNT

# A key between its quotes, and its value.
cdef struct Member:
    const uint8_t *key
    const uint8_t *key_end
    const uint8_t *value
    const uint8_t *value_end
    # The key's underscores, and what is behind them.
    uint32_t underscores
    Name name
    # Whether the key is written with escapes.
    bint escaped

cdef struct Text:
    const uint8_t *start
    const uint8_t *end

cdef struct Object:
    const uint8_t *start
    const uint8_t *end
    Window window
    # The first members, and where reading continues behind them.
    Member kept[MEMBERS_KEPT]
    unsigned int kept_count
    const uint8_t *behind
    # The values of keys without an underscore and with one; the last one counts. A bit of `seen` for each there is.
    uint32_t seen[2]
    Text values[2][NAME_COUNT]
    # Which numbers of underscores stand before a name: a bit for each up to UNDERSCORES_MAX.
    uint32_t underscored[RENAMED_COUNT]
    # Other keys without an underscore. Those written with escapes are in `decoded`.
    Text bare[BARE_MAX]
    uint8_t decoded[BARE_MAX][NAME_MAX_BYTES]
    unsigned int bare_count
    # For each name a bit: the value of this key, without an underscore or with one, stands in the line under another
    # name, or not at all.
    uint32_t consumed[2]

# What is written for a severity.
cdef struct Severity:
    char text[8]
    unsigned int size
    Level level

# The beginning of a line of a level.
cdef struct Beginning:
    char text[BEGINNING_ROOM]
    unsigned int size

cdef Severity severities[SEVERITY_COUNT]
cdef Beginning beginnings[LEVEL_COUNT]


cdef int fill_tables() except -1:
    cdef bytes text
    for i, name in enumerate(SEVERITIES):
        text = name.encode()
        severities[i].size = len(text)
        memcpy(severities[i].text, <const char *>text, len(text))
        severities[i].level = LEVELS.index(ALIASES[str(i)])
    for i, name in enumerate(LEVELS):
        text = b'{"level":"%b","message":' % name.encode()
        beginnings[i].size = len(text)
        memcpy(beginnings[i].text, <const char *>text, len(text))
    return 0


fill_tables()


# The walk over the members.


cdef inline const uint8_t *skip_space(const uint8_t *p) noexcept nogil:
    while p[0] <= 0x20:
        p += 1
    return p


cdef inline const uint8_t *string_end(const uint8_t *p, Object *found, bint *escaped) noexcept nogil:
    """p: after the opening quote. Returns the closing one."""
    escaped[0] = False
    while True:
        p = fl_skip_plain(p, found.end, found.start, &found.window)
        if likely(p[0] == c'"'):
            return p
        if p[0] == c'\\':
            escaped[0] = True
            p += 1
        p += 1


cdef const uint8_t *container_end(const uint8_t *p, Object *found) noexcept nogil:
    """p: at the opening bracket. Returns the byte after the closing one."""
    cdef int depth = 0
    cdef bint escaped
    while True:
        if p[0] == c'"':
            p = string_end(p + 1, found, &escaped)
        elif p[0] == c'{' or p[0] == c'[':
            depth += 1
        elif p[0] == c'}' or p[0] == c']':
            depth -= 1
            if depth == 0:
                return p + 1
        p += 1


cdef inline const uint8_t *value_end(const uint8_t *p, Object *found) noexcept nogil:
    cdef bint escaped
    if likely(p[0] == c'"'):
        return string_end(p + 1, found, &escaped) + 1
    if p[0] == c'{' or p[0] == c'[':
        return container_end(p, found)
    while p[0] > 0x20 and p[0] != c',' and p[0] != c'}':
        p += 1
    return p


cdef inline const uint8_t *next_member(const uint8_t *p, Object *found, Member *member) noexcept nogil:
    """p: after the object's bracket, or after a value. Returns the byte after the next value, or NULL."""
    p = skip_space(p)
    if p[0] == c',':
        p = skip_space(p + 1)
    if p[0] == c'}':
        return NULL
    member.key = p + 1
    member.key_end = string_end(member.key, found, &member.escaped)
    p = skip_space(member.key_end + 1)  # at the colon
    member.value = skip_space(p + 1)
    member.value_end = value_end(member.value, found)
    return member.value_end


# Text written with escapes.


cdef unsigned int put_character(uint32_t c, uint8_t *to) noexcept nogil:
    """Writes the character in UTF-8; returns its size."""
    if c < 0x80:
        to[0] = <uint8_t>c
        return 1
    if c < 0x800:
        to[0], to[1] = <uint8_t>(0xC0 | c >> 6), <uint8_t>(0x80 | (c & 0x3F))
        return 2
    if c < 0x10000:
        to[0], to[1], to[2] = <uint8_t>(0xE0 | c >> 12), <uint8_t>(0x80 | (c >> 6 & 0x3F)), <uint8_t>(0x80 | (c & 0x3F))
        return 3
    to[0], to[1] = <uint8_t>(0xF0 | c >> 18), <uint8_t>(0x80 | (c >> 12 & 0x3F))
    to[2], to[3] = <uint8_t>(0x80 | (c >> 6 & 0x3F)), <uint8_t>(0x80 | (c & 0x3F))
    return 4


cdef const uint8_t *unescape(const uint8_t *p, uint32_t *character) noexcept nogil:
    """p: at a backslash. Returns the byte after the escape, which may be one of a pair of them."""
    cdef uint32_t c
    if p[1] != c'u':
        c = p[1]
        if c == c'n':
            c = c'\n'
        elif c == c'r':
            c = c'\r'
        elif c == c't':
            c = c'\t'
        elif c == c'b':
            c = c'\b'
        elif c == c'f':
            c = c'\f'
        character[0] = c
        return p + 2
    c = hex4(p + 2)
    if not 0xD800 <= c <= 0xDFFF:
        character[0] = c
        return p + 6
    character[0] = 0x10000 + ((c - 0xD800) << 10) + (<uint32_t>hex4(p + 8) - 0xDC00)
    return p + 12


cdef unsigned int decode(const uint8_t *p, const uint8_t *end, uint8_t *to, unsigned int room) noexcept nogil:
    """Writes the text of a string, in UTF-8; returns its size. A text that needs more room is cut, and its size is
    room + 1."""
    cdef unsigned int size = 0, count
    cdef uint32_t c
    cdef uint8_t character[4]
    while p < end:
        if p[0] == c'\\':
            p = unescape(p, &c)
            count = put_character(c, character)
        else:
            character[0], count = p[0], 1
            p += 1
        if size + count > room:
            return room + 1
        memcpy(to + size, character, count)
        size += count
    return size


# What the members are.


cdef inline Name name_of(const uint8_t *p, size_t size) noexcept nogil:
    if size == 2:
        return SD if memcmp(p, b"sd", 2) == 0 else ID if memcmp(p, b"id", 2) == 0 else ANY_NAME
    if size == 3:
        return APP if memcmp(p, b"app", 3) == 0 else PID if memcmp(p, b"pid", 3) == 0 else ANY_NAME
    if size == 4:
        return HOST if memcmp(p, b"host", 4) == 0 else ANY_NAME
    if size == 5:
        if memcmp(p, b"level", 5) == 0:
            return LEVEL
        if memcmp(p, b"stamp", 5) == 0:
            return STAMP
        return MSGID if memcmp(p, b"msgid", 5) == 0 else SEQNO if memcmp(p, b"seqno", 5) == 0 else ANY_NAME
    if size == 6:
        return SOURCE if memcmp(p, b"source", 6) == 0 else ANY_NAME
    if size == 7:
        if memcmp(p, b"version", 7) == 0:
            return VERSION
        return MESSAGE if memcmp(p, b"message", 7) == 0 else CHARSET if memcmp(p, b"charset", 7) == 0 else ANY_NAME
    if size == 8:
        if memcmp(p, b"facility", 8) == 0:
            return FACILITY
        if memcmp(p, b"severity", 8) == 0:
            return SEVERITY
        return RECEIVED if memcmp(p, b"received", 8) == 0 else SEQUENCE if memcmp(p, b"sequence", 8) == 0 else ANY_NAME
    if size == 9:
        return TIMESTAMP if memcmp(p, b"timestamp", 9) == 0 else ANY_NAME
    if size == 13:
        return SHORT_MESSAGE if memcmp(p, b"short_message", 13) == 0 else ANY_NAME
    if size == 14:
        return CONTAINER_NAME if memcmp(p, b"container_name", 14) == 0 else ANY_NAME
    return ANY_NAME


cdef inline Text name_of_key(Member *member, uint8_t *decoded) noexcept nogil:
    """What is behind the key's underscores, which are counted: in the key, or in `decoded`, which has room for a name,
    if it is written with escapes. A name that is longer is NULL."""
    cdef const uint8_t *key = member.key
    cdef bint begins_so = key[0] == c'_'
    if likely(not member.escaped and key[begins_so] != c'_' and member.key_end - key <= NAME_MAX_BYTES):
        member.underscores = begins_so
        return Text(key + begins_so, member.key_end)
    return name_of_any_key(member, decoded)


cdef Text name_of_any_key(Member *member, uint8_t *decoded) noexcept nogil:
    cdef const uint8_t *p = member.key
    cdef const uint8_t *end = member.key_end
    cdef Text name
    cdef unsigned int size
    member.underscores = 0
    while p < end:
        if p[0] == c'_':
            p += 1
        elif p[0] == c'\\' and p[1] == c'u' and hex4(p + 2) == c'_':
            p += 6
        else:
            break
        member.underscores += 1
    name.start, name.end = p, end
    if member.escaped:
        size = decode(p, end, decoded, NAME_MAX_BYTES)
        name.start, name.end = decoded, decoded + size
    if name.end - name.start > NAME_MAX_BYTES:
        name.start = name.end = NULL
    return name


cdef inline void note_member(Object *found, Member *member) noexcept nogil:
    cdef uint8_t *decoded = found.decoded[min(found.bare_count, <unsigned int>BARE_MAX - 1)]
    cdef uint8_t spare[NAME_MAX_BYTES]
    cdef Text name = name_of_key(member, decoded if found.bare_count < BARE_MAX else spare)
    member.name = name_of(name.start, name.end - name.start)
    if member.underscores < 2 and member.name != ANY_NAME:
        found.seen[member.underscores] |= 1u << <int>member.name
        found.values[member.underscores][<int>member.name] = Text(member.value, member.value_end)
    if member.name < RENAMED_COUNT:
        found.underscored[<int>member.name] |= 1u << min(member.underscores, <uint32_t>UNDERSCORES_MAX)
    elif member.underscores == 0 and member.name > VERSION and name.start != NULL:
        if found.bare_count < BARE_MAX:
            found.bare[found.bare_count] = name
        found.bare_count += 1


cdef void find_members(Object *found) noexcept nogil:
    cdef const uint8_t *p = found.start + 1
    cdef Member spare
    cdef Member *member
    found.window.at = NULL
    found.kept_count = found.bare_count = 0
    found.behind = NULL
    found.seen[0] = found.seen[1] = found.consumed[0] = found.consumed[1] = 0
    memset(found.underscored, 0, sizeof(found.underscored))
    while True:
        member = &found.kept[found.kept_count] if found.kept_count < MEMBERS_KEPT else &spare
        p = next_member(p, found, member)
        if p == NULL:
            return
        note_member(found, member)
        if found.kept_count < MEMBERS_KEPT:
            found.kept_count += 1
            found.behind = p


cdef inline Text value_of(const Object *found, int underscores, Name name) noexcept nogil:
    """The value of a key, or NULL where it says nothing: there is none, or it is null or an empty string."""
    cdef Text value
    if found.seen[underscores] >> <int>name & 1:
        value = found.values[underscores][<int>name]
        if not (value.end - value.start == 2 and value.start[0] == c'"') and value.start[0] != c'n':
            return value
    value.start = value.end = NULL
    return value


cdef inline bint is_string(const Text *value) noexcept nogil:
    return value.start != NULL and value.start[0] == c'"'


cdef inline bint has_string(const Object *found, Name name) noexcept nogil:
    """Whether the key without an underscore has a string, which may be empty."""
    return found.seen[0] >> <int>name & 1 and found.values[0][<int>name].start[0] == c'"'


cdef inline void consume(Object *found, int underscores, Name name) noexcept nogil:
    found.consumed[underscores] |= 1u << <int>name


cdef Text find_app(Object *found) noexcept nogil:
    """The first string among those that may name the app, or NULL. A field called `app` is not written again."""
    cdef Text value
    cdef int i
    for i in range(2):
        value = value_of(found, i, APP)
        if is_string(&value):
            consume(found, i, APP)
            return value
    for i in range(2):
        value = value_of(found, i, FACILITY)
        if is_string(&value):
            return value
    value = value_of(found, 1, CONTAINER_NAME)
    if not is_string(&value):
        value.start = NULL
    return value


# Numbers, from their decimal text.


cdef bint read_number(
    const uint8_t *p, const uint8_t *end, int scale, uint64_t *value, bint *is_whole
) noexcept nogil:
    """The whole part of a number that is not negative, times ten to the power of `scale`; TOO_LARGE stands for whatever
    is larger. `is_whole`: nothing was cut. Returns False for a text that is no number, or less than zero."""
    cdef const uint8_t *digits
    cdef const uint8_t *mantissa_end
    cdef int64_t before_point, exponent = 0
    cdef bint is_negative, exponent_is_negative
    is_negative = p < end and p[0] == c'-'
    if is_negative:
        p += 1
    digits = p
    while p < end and c'0' <= p[0] <= c'9':
        p += 1
    before_point = p - digits
    if before_point == 0 or (before_point > 1 and digits[0] == c'0'):
        return False
    if p < end and p[0] == c'.':
        p += 1
        while p < end and c'0' <= p[0] <= c'9':
            p += 1
        if p - 1 - digits == before_point:
            return False
    mantissa_end = p
    if p < end and (p[0] | 0x20) == c'e':
        p += 1
        exponent_is_negative = p < end and p[0] == c'-'
        if p < end and (p[0] == c'-' or p[0] == c'+'):
            p += 1
        if p == end:
            return False
        while p < end and c'0' <= p[0] <= c'9':
            exponent = min(exponent * 10 + (p[0] - c'0'), <int64_t>FAR)
            p += 1
        if exponent_is_negative:
            exponent = -exponent
    if p != end:
        return False
    take_digits(digits, mantissa_end, before_point + exponent + scale, value, is_whole)
    return not is_negative or (value[0] == 0 and is_whole[0])


cdef void take_digits(
    const uint8_t *p, const uint8_t *end, int64_t count, uint64_t *value, bint *is_whole
) noexcept nogil:
    """The number of the first `count` digits of [p, end), which may hold a point; zeros stand for those behind it."""
    value[0], is_whole[0] = 0, True
    while p < end:
        if p[0] == c'.':
            p += 1
            continue
        if count <= 0:
            if p[0] != c'0':
                is_whole[0] = False
        elif value[0] < TOO_LARGE:
            value[0] = value[0] * 10 + (p[0] - c'0')
        count -= 1
        p += 1
    while count > 0 and 0 < value[0] < TOO_LARGE:
        value[0] *= 10
        count -= 1
    value[0] = min(value[0], TOO_LARGE)


cdef inline bint read_usual_seconds(const uint8_t *p, const uint8_t *end, uint64_t *usec) noexcept nogil:
    """Ten digits and a fraction, as nearly all senders write seconds, in a few steps; False for any other text."""
    cdef uint64_t value
    cdef unsigned int unit = USEC // 10
    if end - p < 12 or p[0] == c'0' or p[10] != c'.' or not fl_eight_digits(p, &value):
        return False
    if not (c'0' <= p[8] <= c'9' and c'0' <= p[9] <= c'9'):
        return False
    usec[0] = (value * 100 + (p[8] - c'0') * 10 + (p[9] - c'0')) * USEC
    p += 11
    while p < end:
        if not c'0' <= p[0] <= c'9':
            return False
        usec[0] += unit * (p[0] - c'0')
        unit = unit // 10
        p += 1
    return True


cdef bint read_timestamp(const Text *value, int64_t *usec) noexcept nogil:
    """Microseconds of Unix time, if the value is a moment: seconds as a number, or RFC 3339."""
    cdef uint8_t decoded[TIME_TEXT_MAX]
    cdef const uint8_t *p = value.start
    cdef const uint8_t *end = value.end
    cdef unsigned int size
    cdef uint64_t number
    cdef bint is_whole
    if is_string(value):
        size = decode(value.start + 1, value.end - 1, decoded, TIME_TEXT_MAX)
        if size > TIME_TEXT_MAX:
            return False
        p, end = decoded, decoded + size
        if read_moment(p, end, usec):
            return True
    if not read_usual_seconds(p, end, &number) and not read_number(p, end, 6, &number, &is_whole):
        return False
    usec[0] = <int64_t>number
    return 0 < usec[0] <= LAST_USEC


cdef const Severity *read_level(const Text *value, Level *level) noexcept nogil:
    """The level that a value means. Returns its severity, if it is the number of one, or NULL."""
    cdef uint8_t decoded[LEVEL_TEXT_MAX]
    cdef const uint8_t *p = value.start
    cdef const uint8_t *end = value.end
    cdef unsigned int size = 0
    cdef uint64_t number
    cdef bint is_whole
    level[0] = OTHER
    if value.start == NULL:
        level[0] = INFO
        return NULL
    if is_string(value):
        size = decode(value.start + 1, value.end - 1, decoded, LEVEL_TEXT_MAX)
        if size > LEVEL_TEXT_MAX:
            return NULL
        p, end = decoded, decoded + size
    if read_number(p, end, 0, &number, &is_whole) and is_whole and number < SEVERITY_COUNT:
        level[0] = severities[number].level
        return &severities[number]
    if is_string(value):
        level[0] = level_named(decoded, size)
    return NULL


# The line.


cdef inline uint8_t *put(uint8_t *to, const void *text, size_t size) noexcept nogil:
    memcpy(to, text, size)
    return to + size


cdef inline void fold(uint8_t *to, const uint8_t *end) noexcept nogil:
    """CR and LF become blanks. Inside a string they would have been an error, so all of them are between tokens."""
    while to < end:
        if to[0] == c'\n' or to[0] == c'\r':
            to[0] = c' '
        to += 1


cdef inline uint8_t *put_value(uint8_t *to, const Text *value) noexcept nogil:
    cdef uint8_t *end = fl_copy(to, value.start, value.end)
    if value.start[0] == c'{' or value.start[0] == c'[':
        fold(to, end)
    return end


cdef inline uint8_t *put_quoted(uint8_t *to, const char *text, size_t size) noexcept nogil:
    to[0] = c'"'
    to = fl_copy(to + 1, <const uint8_t *>text, <const uint8_t *>text + size)
    to[0] = c'"'
    return to + 1


cdef inline bint loses_underscore(Object *found, Member *member) noexcept nogil:
    """Whether the key of an additional field, which begins with an underscore, is free without it."""
    cdef uint8_t decoded[NAME_MAX_BYTES]
    cdef Text name
    cdef size_t size
    cdef unsigned int i
    if member.name < TAKEN_COUNT or found.bare_count > BARE_MAX:
        return False
    name = name_of_key(member, decoded)
    size = name.end - name.start
    if size == 0:
        return False
    for i in range(found.bare_count):
        if <size_t>(found.bare[i].end - found.bare[i].start) == size:
            if memcmp(found.bare[i].start, name.start, size) == 0:
                return False
    return True


cdef inline uint8_t *put_member(uint8_t *to, Object *found, Member *member) noexcept nogil:
    """Writes a comma and the member under the name that it gets, unless it is consumed."""
    cdef const uint8_t *key = member.key
    cdef Text value
    cdef uint32_t more = 0
    if member.underscores < 2 and found.consumed[member.underscores] >> <int>member.name & 1:
        return to
    to = put(to, b',"', 2)
    if member.underscores == 0:
        if member.name < RENAMED_COUNT:
            more = 1
            while more < UNDERSCORES_MAX and found.underscored[<int>member.name] >> more & 1:
                more += 1
            memset(to, c'_', UNDERSCORES_MAX)
            to += more
    elif loses_underscore(found, member):
        key += 1 if key[0] == c'_' else 6
    if likely(member.value - member.key_end == 2 and member.value[0] != c'{' and member.value[0] != c'['):
        return fl_copy(to, key, member.value_end)  # in compact JSON, with the colon
    to = fl_copy(to, key, member.key_end)
    to = put(to, b'":', 2)
    value = Text(member.value, member.value_end)
    return put_value(to, &value)


cdef uint8_t *put_others(uint8_t *to, Object *found) noexcept nogil:
    cdef unsigned int i
    cdef const uint8_t *p
    cdef Member member
    cdef uint8_t spare[NAME_MAX_BYTES]
    cdef Text name
    for i in range(found.kept_count):
        to = put_member(to, found, &found.kept[i])
    if found.kept_count < MEMBERS_KEPT:
        return to
    p = found.behind
    while True:
        p = next_member(p, found, &member)
        if p == NULL:
            return to
        name = name_of_key(&member, spare)
        member.name = name_of(name.start, name.end - name.start)
        to = put_member(to, found, &member)


cdef uint8_t *put_host(uint8_t *to, const Text *host, const Receipt *receipt) noexcept nogil:
    if host.start != NULL:
        return put_value(put(to, b',"host":', 8), host)
    if receipt.host_size == 0:
        return to
    return put_quoted(put(to, b',"host":', 8), receipt.source + receipt.host_at, receipt.host_size)


cdef size_t gelf_line(
    const uint8_t *p, const uint8_t *end, const Receipt *receipt, uint8_t *to, Level *level, Reason *reason
) noexcept nogil:
    cdef Object found
    cdef const uint8_t *line = to
    cdef Name message = SHORT_MESSAGE
    cdef Text host, app, value
    cdef const Severity *severity
    cdef int64_t usec
    cdef bint is_moment
    found.start, found.end = p, end
    find_members(&found)
    if not has_string(&found, SHORT_MESSAGE):
        message = MESSAGE
        if not has_string(&found, MESSAGE):
            reason[0] = BAD_MESSAGE
            return 0
    host = value_of(&found, 0, HOST)
    if host.start != NULL and not is_string(&host):
        reason[0] = BAD_FIELD
        return 0
    found.consumed[0] = 1u << <int>VERSION | 1u << <int>HOST | 1u << <int>TIMESTAMP | 1u << <int>message
    value = value_of(&found, 0, LEVEL)
    severity = read_level(&value, level)
    if level[0] != OTHER:
        consume(&found, 0, LEVEL)
    app = find_app(&found)
    value = value_of(&found, 0, TIMESTAMP)
    is_moment = value.start != NULL and read_timestamp(&value, &usec)

    to = put(to, beginnings[<int>level[0]].text, beginnings[<int>level[0]].size)
    to = put_value(to, &found.values[0][<int>message])
    to = put(to, b',"timestamp":"', 14)
    if is_moment:
        write_moment(usec, <char *>to)
    else:
        memcpy(to, receipt.time, TIME_BYTES)
    to = put(to + TIME_BYTES, b'"', 1)
    if app.start != NULL:
        to = put_value(put(to, b',"app":', 7), &app)
    to = put_host(to, &host, receipt)
    if severity != NULL:
        to = put_quoted(put(to, b',"severity":', 12), severity.text, severity.size)
    if is_moment:
        to = put_quoted(put(to, b',"received":', 12), receipt.time, TIME_BYTES)
    elif value.start != NULL:
        to = put_value(put(to, b',"stamp":', 9), &value)
    to = put_quoted(put(to, b',"source":', 10), receipt.source, receipt.source_size)
    to = put_others(to, &found)
    to = put(to, b'}\n', 2)
    return to - line
