# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A syslog message as an entry's line, in C. `syslog.py` is the readable reference, function for function.

First the header is read: it leaves pointers into the message. Then the line is written, with few tests and whole steps
of copying. Every byte is read a fixed number of times, so no message costs more than its length.
"""

import os

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset

from fastlog._moment cimport (
    NO_OFFSET,
    NO_YEAR,
    TIME_BYTES,
    USEC,
    Clock,
    is_digit,
    read_clock,
    read_time_of_day,
    two_digits,
    unix_usec,
    write_moment,
)
from fastlog._parse cimport OTHER, Level, level_named
from fastlog.inputs._receipt cimport Receipt

from fastlog.entry import LEVELS, SEVERITIES, level_of
from fastlog.inputs.syslog_names import FACILITIES, SD_MAX, ZONE_NAME_BYTES, ZONE_WORDS

cdef extern from "inputs/_text.h" nogil:
    const uint8_t *fl_word_end(const uint8_t *p, const uint8_t *end)
    const uint8_t *fl_first_stop(const uint8_t *p, const uint8_t *end)
    bint fl_is_utf8(const uint8_t *p, const uint8_t *end)
    uint8_t *fl_copy(uint8_t *to, const uint8_t *p, const uint8_t *end)
    uint8_t *fl_write_text(uint8_t *to, const uint8_t *p, const uint8_t *end, bint is_latin1)

cdef extern from "<arpa/inet.h>" nogil:
    enum:
        AF_INET6
        INET6_ADDRSTRLEN
    int inet_pton(int family, const char *text, void *address)

cdef enum:
    PRI_END = 192
    OCTET_COUNT_DIGITS = 10
    # Bytes of what the PRI says, as JSON.
    PRI_TEXT_ROOM = 64
    HEAD_ROOM = 40
    # More than the zone words that stand without a mark.
    ZONE_WORDS_ROOM = 32
    ITEMS_MAX = 256  # SD_MAX of the reference
    HASH_HEADS = 64
    # In place of an item's number.
    NO_ITEM = 0xffff
    HALF_YEAR_DAYS = 180
    HEX_GROUP = 4  # digits between two colons of an address

cdef enum Kind:
    # What a byte may be part of; one has several kinds.
    TAG_NAME = 1  # the name of a tag
    HOST_NAME = 2
    WORDLY = 4  # letters, digits, and what is not ASCII
    LETTER = 8  # of ASCII
    IPV6 = 16

# A part of the message; empty if the message has none.
cdef struct Part:
    const uint8_t *start
    const uint8_t *end

# An element of structured data, or a parameter of the element before it.
cdef struct Item:
    Part name
    Part value
    bint is_element
    bint is_quoted
    # A parameter whose name the element had before.
    bint is_repeat
    # The next parameter of this name.
    uint16_t repeat
    # The last parameter of this name so far, where this one is the first.
    uint16_t last
    # Of the items whose names have the same last bits of the hash, the one before.
    uint16_t chained
    uint64_t hash

# What a header gives.
cdef struct Header:
    Part message
    Part app
    Part host
    Part pid
    Part msgid
    Part seqno
    Part seqno_behind  # that behind the origin
    Part stamp
    Part zone_word
    Clock clock
    bint has_clock
    # The sender's own mark says that its clock may be wrong.
    bint is_doubtful
    unsigned int item_count
    Item items[ITEMS_MAX]

# A short text that is copied whole.
cdef struct PriText:
    uint8_t text[PRI_TEXT_ROOM]
    size_t size

cdef struct HeadText:
    uint8_t text[HEAD_ROOM]
    size_t size
    Level level

cdef uint8_t kinds[256]
cdef HeadText heads[8]  # by severity: the line up to its message
cdef PriText pri_texts[PRI_END]  # facility and severity
cdef uint32_t zone_words[ZONE_WORDS_ROOM]
cdef unsigned int zone_word_count = 0
# Names of the same hash can be made up without it, but not short ones. ITEMS_MAX bounds what they cost.
cdef uint64_t hash_seed = int.from_bytes(os.urandom(8), "little")


cdef int fill_tables() except -1:
    cdef bytes text
    global zone_word_count
    if ITEMS_MAX != SD_MAX or ZONE_NAME_ROOM != ZONE_NAME_BYTES or len(ZONE_WORDS) > ZONE_WORDS_ROOM:
        raise RuntimeError("the converter for syslog and its reference differ")
    for c in range(0x21, 256):
        if chr(c) not in "\"'`{}<>=;:\\|?*[]\x7f":
            kinds[c] |= TAG_NAME
        if c >= 0x80 or chr(c).isalnum():
            kinds[c] |= WORDLY
        if c < 0x80 and (chr(c).isalnum() or chr(c) in "._-/@"):
            kinds[c] |= HOST_NAME
        if c < 0x80 and chr(c).isalpha():
            kinds[c] |= LETTER
        if chr(c) in "0123456789abcdefABCDEF:.":
            kinds[c] |= IPV6
    for i, severity in enumerate(SEVERITIES):
        level = level_of(severity)
        text = f'{{"level":"{level}","message":"'.encode()
        memcpy(heads[i].text, <const char *>text, len(text))
        heads[i].size, heads[i].level = len(text), LEVELS.index(level)
    for i in range(PRI_END):
        text = f',"facility":"{FACILITIES[i // 8]}","severity":"{SEVERITIES[i % 8]}"'.encode()
        memcpy(pri_texts[i].text, <const char *>text, len(text))
        pri_texts[i].size = len(text)
    for i, word in enumerate(ZONE_WORDS):
        text = word.encode()
        memcpy(&zone_words[i], <const char *>text, len(text))
    zone_word_count = len(ZONE_WORDS)
    return 0


fill_tables()


cdef inline Part part(const uint8_t *start, const uint8_t *end) noexcept nogil:
    cdef Part found
    found.start, found.end = start, end
    return found


cdef inline bint is_nil(const Part *field) noexcept nogil:
    return field.end == field.start or (field.end - field.start == 1 and field.start[0] == c'-')


cdef inline bint begins(const uint8_t *p, const uint8_t *end, const char *word, Py_ssize_t size) noexcept nogil:
    return end - p >= size and memcmp(p, word, size) == 0


cdef inline const uint8_t *skip_blanks(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and p[0] == c' ':
        p += 1
    return p


cdef inline const uint8_t *skip_blank(const uint8_t *p, const uint8_t *end) noexcept nogil:
    return p + (p < end and p[0] == c' ')


cdef inline const uint8_t *skip_bom(const uint8_t *p, const uint8_t *end) noexcept nogil:
    return p + 3 if begins(p, end, b"\xef\xbb\xbf", 3) else p


cdef inline const uint8_t *skip_digits(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and is_digit(p[0]):
        p += 1
    return p


cdef const uint8_t *read_pri(const uint8_t *p, const uint8_t *end, unsigned int *pri) noexcept nogil:
    """Returns the byte after the PRI, or NULL."""
    cdef const uint8_t *digits = p
    if p < end and is_digit(p[0]):  # the octet count of RFC 6587
        p = skip_digits(p, min(end, p + OCTET_COUNT_DIGITS))
        if p == end or p[0] != c' ':
            return NULL
        p += 1
    if p == end or p[0] != c'<':
        return NULL
    digits = p + 1
    p = skip_digits(digits, min(end, digits + 3))
    if p == digits or p == end or p[0] != c'>':
        return NULL
    pri[0] = 0
    while digits < p:
        pri[0] = pri[0] * 10 + (digits[0] - c'0')
        digits += 1
    return p + 1 if pri[0] < PRI_END else NULL


cdef bint is_syslog(const uint8_t *p, const uint8_t *end) noexcept nogil:
    cdef unsigned int pri
    return read_pri(p, end, &pri) != NULL


# RFC 5424


cdef bint read_rfc5424(const uint8_t *p, const uint8_t *end, Header *header) noexcept nogil:
    cdef Part fields[5]
    cdef const uint8_t *start
    cdef bint is_nil_data
    cdef int i
    if end - p < 2 or p[0] != c'1' or p[1] != c' ':
        return False
    p += 2
    for i in range(5):
        start = p
        p = fl_word_end(p, end)
        if p == end or p[0] != c' ':
            return False
        fields[i] = part(start, p)
        p += 1
    is_nil_data = p < end and p[0] == c'-' and (p + 1 == end or p[1] == c' ')
    if not (
        (fields[0].end == fields[0].start + 1 and fields[0].start[0] == c'-')
        or has_year(&fields[0])
        or ((is_nil_data or (p < end and p[0] == c'[')) and is_digit(fields[0].start[0]))
    ):
        return False
    if not is_nil(&fields[0]):
        header.stamp = fields[0]
        header.has_clock = read_clock(fields[0].start, fields[0].end, &header.clock) == fields[0].end
    if not is_nil(&fields[1]):
        header.host = fields[1]
    if not is_nil(&fields[2]):
        header.app = fields[2]
    if not is_nil(&fields[3]):
        header.pid = fields[3]
    if not is_nil(&fields[4]):
        header.msgid = fields[4]
    if is_nil_data:
        p = skip_blank(p + 1, end)
    elif p < end and p[0] == c'[':
        start = read_structured_data(p, end, header)
        if start == NULL:
            header.item_count = 0
        else:
            p = skip_blank(start, end)
    header.message = part(p, end)
    return True


cdef inline bint has_year(const Part *field) noexcept nogil:
    cdef const uint8_t *p = field.start
    return field.end - p >= 5 and two_digits(p) >= 0 and two_digits(p + 2) >= 0 and p[4] == c'-'


cdef inline const uint8_t *sd_name_end(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end and p[0] > 0x20 and p[0] != c'=' and p[0] != c']' and p[0] != c'"':
        p += 1
    return p


cdef inline uint64_t load(const uint8_t *p, size_t size) noexcept nogil:
    """Up to eight bytes as a number."""
    cdef uint64_t value = 0
    cdef uint32_t low = 0, high = 0
    if size >= 8:
        memcpy(&value, p, 8)
    elif size >= 4:
        memcpy(&low, p, 4)
        memcpy(&high, p + size - 4, 4)
        value = <uint64_t>high << 32 | low
    elif size:
        value = p[0] | <uint64_t>p[size // 2] << 8 | <uint64_t>p[size - 1] << 16
    return value


cdef uint64_t hash_of(const Part *name, uint64_t seed) noexcept nogil:
    cdef const uint8_t *p = name.start
    cdef uint64_t hash = seed ^ <uint64_t>(name.end - p)
    while True:
        hash = (hash ^ load(p, name.end - p)) * 0x9E3779B97F4A7C15ULL
        hash ^= hash >> 29
        if name.end - p <= 8:
            return hash * 0x9E3779B97F4A7C15ULL
        p += 8


cdef bint add_item(Header *header, uint16_t *newest, unsigned int element, const Item *item) noexcept nogil:
    """Adds an item, an element or a parameter of `element`. False: there is no room, or it is an element that came
    before."""
    cdef uint64_t hash = hash_of(&item.name, hash_seed + (0 if item.is_element else element + 1))
    cdef uint16_t *head = &newest[(hash >> 32) % HASH_HEADS]
    cdef uint16_t at = head[0], number = header.item_count
    cdef Py_ssize_t size = item.name.end - item.name.start
    cdef Item *other
    cdef Item *added = &header.items[number % ITEMS_MAX]
    if number == ITEMS_MAX:
        return False
    while at != NO_ITEM:
        other = &header.items[at]
        if (
            other.hash == hash and other.is_element == item.is_element and (item.is_element or at > element)
            and other.name.end - other.name.start == size and memcmp(other.name.start, item.name.start, size) == 0
        ):
            break
        at = other.chained
    if at != NO_ITEM and item.is_element:
        return False
    added[0] = item[0]
    added.hash = hash
    added.repeat = NO_ITEM
    added.is_repeat = at != NO_ITEM
    if added.is_repeat:
        header.items[header.items[at].last].repeat = number
        header.items[at].last = number
    else:
        added.last = number
        added.chained = head[0]
        head[0] = number
    header.item_count += 1
    return True


cdef const uint8_t *read_structured_data(const uint8_t *p, const uint8_t *end, Header *header) noexcept nogil:
    """p: at a `[`. Returns the byte after the last element, or NULL if they are malformed."""
    cdef uint16_t newest[HASH_HEADS]
    cdef unsigned int element
    cdef Item item
    memset(newest, 0xff, sizeof(newest))
    while p < end and p[0] == c'[':
        item.is_element = True
        item.name = part(p + 1, sd_name_end(p + 1, end))
        element = header.item_count
        if item.name.end == item.name.start or not add_item(header, newest, 0, &item):
            return NULL
        item.is_element = False
        p = item.name.end
        while True:
            item.name.start = skip_blanks(p, end)
            if item.name.start == end:
                return NULL
            if item.name.start[0] == c']':
                p = item.name.start + 1
                break
            item.name.end = sd_name_end(item.name.start, end)
            if item.name.start == p or item.name.end == item.name.start:
                return NULL
            p = read_value(item.name.end, end, &item)
            if p == NULL or not add_item(header, newest, element, &item):
                return NULL
    return p


cdef const uint8_t *read_value(const uint8_t *p, const uint8_t *end, Item *item) noexcept nogil:
    """p: after a parameter's name. Returns the byte after its value, a blank or `]`, or NULL."""
    if p == end or p[0] != c'=':
        return NULL
    p += 1
    item.is_quoted = p < end and p[0] == c'"'
    if item.is_quoted:
        p += 1
        item.value.start = p
        while p < end and p[0] != c'"':
            p += 2 if p[0] == c'\\' else 1
        if p >= end:
            return NULL
        item.value.end = p
        p += 1
    else:
        item.value.start = p
        while p < end and p[0] > 0x20 and p[0] != c']' and p[0] != c'"':
            p += 1
        item.value.end = p
    return p if p < end and (p[0] == c' ' or p[0] == c']') else NULL


# RFC 3164


cdef bint read_rfc3164(const uint8_t *p, const uint8_t *end, Header *header) noexcept nogil:
    cdef const uint8_t *after
    cdef bint is_cisco
    p = skip_blanks(p, end)
    is_cisco = p < end and p[0] == c':'
    if is_cisco:
        p = skip_blanks(p + 1, end)
    after = read_seqno(p, end, &header.seqno)
    if after != p:
        is_cisco = True
        p = after
    after = read_stamp(p, end, is_cisco, header)
    if after == NULL:
        after = mnemonic_end(p, end)
        if after != NULL:
            return take_tag(p, after, after + 1, end, header)
        after = read_origin(p, end, &header.host)
        if after != NULL:
            after = read_seqno(after, end, &header.seqno_behind)
            after = read_stamp(after, end, is_cisco or header.seqno_behind.start != NULL, header)
        if after == NULL:
            header.seqno = header.seqno_behind = header.host = part(NULL, NULL)
            return False
    read_behind_stamp(after, end, header)
    return True


cdef const uint8_t *read_seqno(const uint8_t *p, const uint8_t *end, Part *seqno) noexcept nogil:
    """One or two numbers, each with a colon and a blank. Returns the byte after them, or p."""
    cdef const uint8_t *start = p
    cdef const uint8_t *first = skip_digits(p, end)
    cdef const uint8_t *second
    if first == p or not begins(first, end, b": ", 2):
        return p
    second = skip_digits(first + 2, end)
    if second != first + 2 and begins(second, end, b": ", 2):
        first = second
    seqno[0] = part(start, first)
    return first + 2


cdef const uint8_t *read_origin(const uint8_t *p, const uint8_t *end, Part *host) noexcept nogil:
    """What a Cisco device is called, before its stamp. Returns the byte after it, or NULL."""
    cdef const uint8_t *after = fl_word_end(p, end)
    cdef bint has_slash = False
    if after - p >= 2 and after < end and after[0] == c' ' and (after - 1)[0] == c':':
        if is_host(p, after - 1):
            host[0] = part(p, after - 1)
            return after + 1
    after = p
    if p < end and kinds[p[0]] & HOST_NAME and kinds[p[0]] & WORDLY:
        while after < end and kinds[after[0]] & HOST_NAME:
            has_slash |= after[0] == c'/'
            after += 1
    if not has_slash or after == end or after[0] != c':':
        return NULL
    host[0] = part(p, after)
    return after + 1


cdef inline bint is_year_behind(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Whether at p, after a blank, there is a year, and nothing but a blank or a colon behind it."""
    cdef int century
    if end - p < 4:
        return False
    century = two_digits(p)
    return (century == 19 or century == 20) and two_digits(p + 2) >= 0 and is_after_part(p + 4, end)


cdef inline bint is_after_part(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Whether a part of a stamp may end at p."""
    if p == end or p[0] == c' ':
        return True
    return p[0] == c':' and (p + 1 == end or p[1] == c' ' or p[1] == c'%')


cdef const uint8_t *read_stamp(const uint8_t *p, const uint8_t *end, bint is_cisco, Header *header) noexcept nogil:
    """The stamp at p with what belongs to it. Returns where the text behind it begins, or NULL."""
    cdef const uint8_t *start = p
    cdef Clock *clock = &header.clock
    header.zone_word = part(NULL, NULL)
    header.is_doubtful = False
    if p < end and (p[0] == c'*' or p[0] == c'.'):
        header.is_doubtful = p[0] == c'*'
        is_cisco = True
        p += 1
    if p == end:
        return NULL
    if is_digit(p[0]):
        if end - p > 4 and p[4] == c'-':
            p = read_clock(p, end, clock)
            if p == NULL:
                return NULL
        else:
            p = read_year_first(p, end, clock)
            if p == NULL:
                return NULL
            p = read_zone(p, end, is_cisco, True, header)
    else:
        p = read_bsd_clock(p, end, clock)
        if p == NULL:
            return NULL
        if clock.year == NO_YEAR and p < end and p[0] == c' ' and is_year_behind(p + 1, end):
            clock.year = 100 * two_digits(p + 1) + two_digits(p + 3)
            p += 5
        p = read_zone(p, end, is_cisco, False, header)
    if not is_after_part(p, end):
        return NULL
    header.stamp = part(start, p)
    header.has_clock = True
    if end - p >= 2 and p[0] == c' ' and p[1] == c':' and is_after_part(p + 1, end):
        return p + 2
    return p + (p < end and p[0] == c':')


cdef const uint8_t *read_month_and_day(const uint8_t *p, const uint8_t *end, Clock *clock) noexcept nogil:
    """`Nov 26`. Returns the byte after it, or NULL."""
    cdef uint32_t name
    if end - p < 6 or p[3] != c' ':
        return NULL
    name = (p[0] | 0x20) << 16 | (p[1] | 0x20) << 8 | (p[2] | 0x20)
    clock.month = month_of(name)
    if clock.month == 0:
        return NULL
    p += 4
    p += p[0] == c' '
    if p == end or not is_digit(p[0]):
        return NULL
    clock.day = p[0] - c'0'
    p += 1
    if p < end and is_digit(p[0]):
        clock.day = 10 * clock.day + (p[0] - c'0')
        p += 1
    return p if 1 <= clock.day <= 31 else NULL


cdef inline int month_of(uint32_t name) noexcept nogil:
    """The month with this name of three small letters, or 0."""
    if name == 0x6a616e:
        return 1
    if name == 0x666562:
        return 2
    if name == 0x6d6172:
        return 3
    if name == 0x617072:
        return 4
    if name == 0x6d6179:
        return 5
    if name == 0x6a756e:
        return 6
    if name == 0x6a756c:
        return 7
    if name == 0x617567:
        return 8
    if name == 0x736570:
        return 9
    if name == 0x6f6374:
        return 10
    if name == 0x6e6f76:
        return 11
    return 12 if name == 0x646563 else 0


cdef const uint8_t *read_bsd_clock(const uint8_t *p, const uint8_t *end, Clock *clock) noexcept nogil:
    """`Nov 26 08:11:04`, perhaps with a year before the time. Returns the byte after it, or NULL."""
    p = read_month_and_day(p, end, clock)
    if p == NULL or p == end or p[0] != c' ':
        return NULL
    p += 1
    clock.offset = NO_OFFSET
    clock.year = NO_YEAR
    if end - p >= 5 and p[4] == c' ' and two_digits(p) >= 0 and two_digits(p + 2) >= 0:
        clock.year = 100 * two_digits(p) + two_digits(p + 2)
        p += 5
    return read_time_of_day(p, end, clock)


cdef const uint8_t *read_year_first(const uint8_t *p, const uint8_t *end, Clock *clock) noexcept nogil:
    """`2026 Nov 26 08:11:04`. Returns the byte after it, or NULL."""
    if end - p < 5 or p[4] != c' ' or two_digits(p) < 0 or two_digits(p + 2) < 0:
        return NULL
    clock.year = 100 * two_digits(p) + two_digits(p + 2)
    clock.offset = NO_OFFSET
    p = read_month_and_day(p + 5, end, clock)
    if p == NULL or p == end or p[0] != c' ':
        return NULL
    return read_time_of_day(p + 1, end, clock)


cdef const uint8_t *read_zone(
    const uint8_t *p, const uint8_t *end, bint is_cisco, bint is_year_first, Header *header
) noexcept nogil:
    """A zone word behind a stamp, perhaps with a year behind it. Returns the byte after them, or p."""
    cdef const uint8_t *word = p + 1
    cdef const uint8_t *after
    cdef const uint8_t *name_end
    cdef bint has_year_behind, is_name
    if end - p < 2 or p[0] != c' ':
        return p
    after = word
    is_name = True
    while after < end and kinds[after[0]] & LETTER:
        is_name = is_name and after[0] <= c'Z'
        after += 1
    name_end = after
    after = skip_zone_offset(after, end)
    if name_end == word or not is_after_part(after, end):
        return p
    is_name = is_name and 2 <= name_end - word <= 5
    has_year_behind = (
        header.clock.year == NO_YEAR and after < end and after[0] == c' ' and is_year_behind(after + 1, end)
    )
    if not (is_name and (has_year_behind or is_zone_word(word, name_end))):
        if after == end or after[0] != c':':
            return p
        if not (is_cisco or ((is_name or is_year_first) and begins(after, end, b": %", 3))):
            return p
    header.zone_word = part(word, after)
    if has_year_behind:
        header.clock.year = 100 * two_digits(after + 1) + two_digits(after + 3)
        after += 5
    return after


cdef const uint8_t *skip_zone_offset(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """What stands behind the zone's name in `UTC+1`, `GMT-03:30`. Returns the byte after it, or p."""
    cdef const uint8_t *digits = p + 1
    cdef const uint8_t *after
    if p == end or (p[0] != c'+' and p[0] != c'-'):
        return p
    after = skip_digits(digits, end)
    if after == digits or after - digits > 4:
        return p
    if after - digits <= 2 and end - after >= 3 and after[0] == c':' and two_digits(after + 1) >= 0:
        after += 3
    return after


cdef bint is_zone_word(const uint8_t *p, const uint8_t *end) noexcept nogil:
    cdef uint32_t word = 0
    cdef unsigned int i
    if not 3 <= end - p <= 4:
        return False
    memcpy(&word, p, end - p)
    for i in range(zone_word_count):
        if zone_words[i] == word:
            return True
    return False


cdef void read_behind_stamp(const uint8_t *p, const uint8_t *end, Header *header) noexcept nogil:
    """The host, the tag and the message."""
    cdef const uint8_t *after
    cdef const uint8_t *word = skip_blanks(p, end)
    header.message = part(skip_blank(p, end), end)
    if word == end:
        return
    if word[0] == c'l' and begins(word, end, b"last message repeated ", 22):
        return
    if word[0] == c'M' and header.host.start == NULL and begins(word, end, b"Message forwarded from ", 23):
        after = fl_word_end(word + 23, end)
        if (
            after - word >= 25 and (after - 1)[0] == c':' and (after == end or after[0] == c' ')
            and is_host(word + 23, after - 1)
        ):
            header.host = part(word + 23, after - 1)
            header.message = part(skip_blank(after, end), end)
            read_tag(skip_blanks(after, end), end, header)
            return
    if read_tag(word, end, header) or header.host.start != NULL:
        return
    after = host_end(word, end)
    if after != word:
        header.host = part(word, after)
        header.message = part(min(after + 1, end), end)
        read_tag_behind_host(after, end, header)
        return
    after = odd_host_end(word, end)
    if after != word and read_tag_behind_host(after, end, header) and not (after - word == 1 and word[0] == c'-'):
        header.host = part(word, after)


cdef bint read_tag_behind_host(const uint8_t *p, const uint8_t *end, Header *header) noexcept nogil:
    cdef const uint8_t *after
    p = skip_blanks(min(p + 1, end), end)
    if begins(p, end, b": ", 2):  # ASA
        after = skip_blanks(p + 1, end)
        if after < end and after[0] == c'%':
            p = after
    return read_tag(p, end, header)


cdef inline bint is_blank(const uint8_t *p, const uint8_t *end) noexcept nogil:
    return p == end or p[0] == c' ' or p[0] == c'\t'


cdef inline bint is_white(const uint8_t *p, const uint8_t *end) noexcept nogil:
    return is_blank(p, end) or p[0] == c'\r' or p[0] == c'\n'


cdef const uint8_t *host_end(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Where the host's name or IPv6 address at p ends; p itself if there is none."""
    cdef const uint8_t *start = p
    if p < end and kinds[p[0]] & HOST_NAME and kinds[p[0]] & WORDLY:
        while p < end and kinds[p[0]] & HOST_NAME:
            p += 1
        if is_blank(p, end):
            return p
    p = start
    while p < end and kinds[p[0]] & IPV6:
        p += 1
    return ipv6_end(start, p, end) if p < end and p != start or p == end else start


cdef const uint8_t *odd_host_end(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Where a host's name ends that only a tag behind it tells from a text, as `_gateway` or `-`; p itself if there is
    none."""
    cdef const uint8_t *start = p
    while p < end and (p[0] == c'.' or p[0] == c'_' or p[0] == c'-'):
        p += 1
    if p == start:
        return start
    if p < end and kinds[p[0]] & HOST_NAME and kinds[p[0]] & WORDLY:
        while p < end and kinds[p[0]] & HOST_NAME:
            p += 1
    elif p - start != 1 or start[0] != c'-':
        return start
    return p if is_blank(p, end) else start


cdef bint is_host(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Whether a text, which is not empty, is a host's name where nothing else can stand."""
    if odd_host_end(p, end) == end:
        return not (end - p == 1 and p[0] == c'-')
    return host_end(p, end) == end


cdef const uint8_t *ipv6_end(const uint8_t *start, const uint8_t *p, const uint8_t *end) noexcept nogil:
    """start to p: what may be an IPv6 address. Returns the byte after it and its zone, or `start`."""
    cdef char text[INET6_ADDRSTRLEN]
    cdef uint8_t address[16]
    cdef const uint8_t *zone = p + 1
    if p - start >= INET6_ADDRSTRLEN or memchr(start, c':', p - start) == NULL:
        return start
    memcpy(text, start, p - start)
    text[p - start] = 0
    if p < end and p[0] == c'%':
        p = zone
        while p < end and kinds[p[0]] & HOST_NAME and p[0] != c'/' and p[0] != c'@':
            p += 1
        if p == zone:
            return start
    return p if is_blank(p, end) and inet_pton(AF_INET6, text, address) == 1 else start


cdef bint is_wordly(const uint8_t *p, const uint8_t *end) noexcept nogil:
    while p < end:
        if kinds[p[0]] & WORDLY:
            return True
        p += 1
    return False


cdef bint take_tag(
    const uint8_t *name, const uint8_t *name_end, const uint8_t *after, const uint8_t *end, Header *header
) noexcept nogil:
    if not is_wordly(name, name_end):
        return False
    header.app = part(name, name_end)
    header.message = part(skip_blank(after, end), end)
    return True


cdef bint read_tag(const uint8_t *p, const uint8_t *end, Header *header) noexcept nogil:
    """The app, its pid and the message behind a tag. False: there is none."""
    cdef const uint8_t *name = p
    cdef const uint8_t *name_end
    cdef const uint8_t *colon = NULL
    while p < end and kinds[p[0]] & TAG_NAME:
        p += 1
    if p == name or p == end:
        return False
    if p[0] == c':':
        if is_white(p + 1, end):
            return take_tag(name, p, p + 1, end, header)
        colon = p
        while p < end and (kinds[p[0]] & TAG_NAME or p[0] == c':'):
            p += 1
    name_end = p
    if p < end and p[0] == c'[':
        p = read_pid(p + 1, end, colon != NULL, header)
        if p != NULL:
            if take_tag(name, name_end, p, end, header):
                return True
            header.pid = part(NULL, NULL)
            return False
    if colon == NULL or not ((name[0] == c'%' and colon - name > 1) or is_glued_tag(name, colon, end)):
        return False
    return take_tag(name, colon, colon + 1, end, header)


cdef bint is_glued_tag(const uint8_t *name, const uint8_t *colon, const uint8_t *end) noexcept nogil:
    """Whether what has no blank behind its colon is a tag: it is not in an address, a path, a URL, nor before the
    number of a port or a line, and no level's name. colon: not the last byte."""
    cdef const uint8_t *p = name
    cdef uint8_t behind = colon[1]
    if not (kinds[name[0]] & LETTER or name[0] == c'_'):
        return False
    if is_digit(behind) or behind == c':' or behind == c'/' or behind == c'\\':
        return False
    while p < colon:
        if not kinds[p[0]] & HOST_NAME or p[0] == c'@':
            return False
        p += 1
    p = hex_end(name, colon)
    if p == colon and colon - name <= HEX_GROUP:
        p = hex_end(colon + 1, end)
        if p < end and p[0] == c':' and p - colon <= HEX_GROUP + 1:
            return False
    return level_named(name, colon - name) == OTHER


cdef inline const uint8_t *hex_end(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Where the hexadecimal digits end, of which more than a group of an address need not be read."""
    cdef const uint8_t *limit = min(end, p + HEX_GROUP + 1)
    while p < limit and kinds[p[0]] & IPV6 and p[0] != c'.' and p[0] != c':':
        p += 1
    return p


cdef const uint8_t *mnemonic_end(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Where Cisco's tag, facility, severity and name, ends: at its colon. NULL: there is none."""
    cdef const uint8_t *start = p
    cdef const uint8_t *dash = NULL  # the last one
    if p == end or p[0] != c'%':
        return NULL
    p += 1
    while p < end and (kinds[p[0]] & LETTER or is_digit(p[0]) or p[0] == c'_' or p[0] == c'-'):
        if p[0] == c'-':
            dash = p
        p += 1
    if p == end or p[0] != c':' or dash == NULL or dash + 1 == p or dash - start < 4:
        return NULL
    return p if (dash - 2)[0] == c'-' and c'0' <= (dash - 1)[0] <= c'7' else NULL


cdef const uint8_t *read_pid(const uint8_t *p, const uint8_t *end, bint has_colon, Header *header) noexcept nogil:
    """p: after the bracket behind a tag's name. Returns the byte after the tag, or NULL if it is none."""
    cdef const uint8_t *start = p
    cdef const uint8_t *after
    while p < end and p[0] > 0x20 and p[0] != c'[' and p[0] != c']':
        p += 1
    if p == end or p[0] != c']':
        return NULL
    after = p + 1
    if after < end and after[0] == c':' and is_white(after + 1, end):
        after += 1
    else:
        if has_colon or p == start or skip_digits(start, p) != p:
            return NULL
        if after < end and after[0] == c':':
            after += 1
        elif not is_blank(after, end):
            return NULL
    if p != start:
        header.pid = part(start, p)
    return after


cdef bint read_unstamped(const uint8_t *p, const uint8_t *end, Header *header) noexcept nogil:
    """Without a stamp, only a tag at the very beginning is a header, and only if it is no level's name."""
    cdef const uint8_t *name = p
    cdef const uint8_t *name_end
    cdef const uint8_t *pid = NULL
    cdef const uint8_t *pid_end = NULL
    if p == end or not kinds[p[0]] & LETTER:
        return False
    while p < end and kinds[p[0]] & TAG_NAME:
        p += 1
    name_end = p
    if p < end and p[0] == c'[':
        pid = p + 1
        p = pid
        while p < end and p[0] > 0x20 and p[0] != c'[' and p[0] != c']':
            p += 1
        if p == end or p[0] != c']':
            return False
        pid_end = p
        p += 1
    if not begins(p, end, b": ", 2) or level_named(name, name_end - name) != OTHER:
        return False
    header.app = part(name, name_end)
    if pid != pid_end:
        header.pid = part(pid, pid_end)
    header.message = part(p + 2, end)
    return True


# The moment


cdef bint find_moment(const Header *header, const Receipt *receipt, const Zone *zone, int64_t *usec) noexcept nogil:
    """The moment that the sender's clock showed, in the year that brings it nearest to its receipt if it shows none.
    False: nobody can know it."""
    cdef Clock clock = header.clock
    if not header.has_clock or header.is_doubtful:
        return False
    if header.zone_word.start != NULL and is_utc(&header.zone_word):
        clock.offset = 0
    if clock.offset == NO_OFFSET and zone.count == 0:
        return False
    if clock.year == NO_YEAR:
        clock.year = nearest_year(&clock, receipt)
    if clock.offset != NO_OFFSET:
        return unix_usec(&clock, usec)
    clock.offset = 0
    return unix_usec(&clock, usec) and find_in_zone(usec[0], header, receipt, zone, usec)


cdef inline bint is_utc(const Part *word) noexcept nogil:
    return word.end - word.start == 3 and (memcmp(word.start, b"UTC", 3) == 0 or memcmp(word.start, b"GMT", 3) == 0)


cdef inline int64_t distance(int64_t usec, const Receipt *receipt) noexcept nogil:
    return usec - receipt.unix_usec if usec >= receipt.unix_usec else receipt.unix_usec - usec


cdef int nearest_year(const Clock *clock, const Receipt *receipt) noexcept nogil:
    """Of two years that are as near, the earlier one. NO_YEAR: none of them has this day."""
    cdef Clock utc = clock[0]
    cdef int this_year, nearest = NO_YEAR
    cdef int64_t usec, least = 0
    this_year = 100 * two_digits(<const uint8_t *>receipt.time) + two_digits(<const uint8_t *>receipt.time + 2)
    utc.offset = 0
    utc.year = this_year
    if unix_usec(&utc, &usec) and distance(usec, receipt) < HALF_YEAR_DAYS * 86_400LL * USEC:
        return this_year  # no other year can be nearer
    for utc.year in range(this_year - 1, this_year + 2):
        if unix_usec(&utc, &usec) and (nearest == NO_YEAR or distance(usec, receipt) < least):
            nearest, least = utc.year, distance(usec, receipt)
    return nearest


cdef bint find_in_zone(
    int64_t local, const Header *header, const Receipt *receipt, const Zone *zone, int64_t *usec
) noexcept nogil:
    """Of the moments at which clocks of the zone show this, the one that is nearest to the receipt. `local`: as if it
    were UTC."""
    cdef const Period *period
    cdef size_t low = 0, high = zone.count - 1, middle
    cdef int64_t day = 86_400LL * USEC, moment
    cdef bint is_found = False
    # The first period that ends less than a day before what would be the moment in UTC: no offset is larger.
    while low < high:
        middle = (low + high) // 2
        if zone.periods[middle + 1].start_usec > local - day:
            high = middle
        else:
            low = middle + 1
    while low < zone.count - 1 and zone.periods[low].start_usec < local + day:
        period = &zone.periods[low]
        moment = local - period.offset_usec
        low += 1
        if not period.start_usec <= moment < period[1].start_usec:
            continue
        if header.zone_word.start != NULL and not is_zone_name(&header.zone_word, period):
            continue
        if not is_found or distance(moment, receipt) < distance(usec[0], receipt):
            usec[0] = moment
            is_found = True
    return is_found


cdef inline bint is_zone_name(const Part *word, const Period *period) noexcept nogil:
    cdef size_t size = word.end - word.start
    return size == period.name_size and memcmp(word.start, period.name, size) == 0


# The line


cdef inline uint8_t *put(uint8_t *to, const char *text, size_t size) noexcept nogil:
    memcpy(to, text, size)
    return to + size


# What all texts of a message have in common: they are plain up to `plain_end`, and Latin-1 or UTF-8.
cdef struct Script:
    const uint8_t *plain_end
    bint is_latin1


cdef inline uint8_t *put_part(uint8_t *to, const Part *text, const Script *script) noexcept nogil:
    if text.end <= script.plain_end:
        return fl_copy(to, text.start, text.end)
    return fl_write_text(to, text.start, text.end, script.is_latin1)


cdef uint8_t *put_value(uint8_t *to, const Item *item, const Script *script) noexcept nogil:
    """A parameter's value, in quotes. A backslash of its own stands before a quote, a backslash and a bracket."""
    cdef const uint8_t *p = item.value.start
    cdef const uint8_t *end = item.value.end
    cdef const uint8_t *escape
    cdef Part piece
    to[0] = c'"'
    to += 1
    while item.is_quoted and end > script.plain_end:
        escape = <const uint8_t *>memchr(p, c'\\', end - p)
        if escape == NULL or escape + 1 == end:
            break
        piece = part(p, escape)
        if escape[1] == c'"' or escape[1] == c'\\' or escape[1] == c']':
            to = put_part(to, &piece, script)
            piece = part(escape + 1, escape + 2)
        else:
            piece.end = escape + 1
        to = put_part(to, &piece, script)
        p = piece.end
    piece = part(p, end)
    to = put_part(to, &piece, script)
    to[0] = c'"'
    return to + 1


cdef uint8_t *put_structured_data(uint8_t *to, const Header *header, const Script *script) noexcept nogil:
    cdef const Item *item
    cdef unsigned int i
    cdef uint16_t at
    cdef bint is_first = True
    to = put(to, b',"sd":{', 7)
    for i in range(header.item_count):
        item = &header.items[i]
        if item.is_element and i:
            to = put(to, b'},', 2)
        elif not (is_first or item.is_repeat):
            to = put(to, b',', 1)
        is_first = item.is_element
        if item.is_repeat:
            continue
        to = put(to, b'"', 1)
        to = put_part(to, &item.name, script)
        to = put(to, b'":', 2)
        if item.is_element:
            to = put(to, b'{', 1)
        elif item.repeat == NO_ITEM:
            to = put_value(to, item, script)
        else:
            to = put(to, b'[', 1)
            at = i
            while at != NO_ITEM:
                to = put_value(to, &header.items[at], script)
                at = header.items[at].repeat
                to = put(to, b',', 1)
            (to - 1)[0] = c']'
    return put(to, b'}}', 2)


cdef size_t syslog_line(
    const uint8_t *p, const uint8_t *end, const Receipt *receipt, const Zone *zone, uint8_t *to, Level *level
) noexcept nogil:
    cdef Header header
    cdef Script script
    cdef unsigned int pri = 0
    p = read_pri(p, end, &pri)
    while end > p and ((end - 1)[0] == c'\n' or (end - 1)[0] == 0 or (end - 1)[0] == c'\r'):
        end -= 1
    script.plain_end = fl_first_stop(p, end)
    script.is_latin1 = script.plain_end != end and not fl_is_utf8(script.plain_end, end)
    if not script.is_latin1:
        p = skip_bom(p, end)
    # everything up to the items, which are written before they are read
    memset(&header, 0, <size_t>(<uint8_t *>&header.items - <uint8_t *>&header))
    if not (read_rfc5424(p, end, &header) or read_rfc3164(p, end, &header) or read_unstamped(p, end, &header)):
        header.message = part(p, end)
    if not script.is_latin1:
        header.message.start = skip_bom(header.message.start, header.message.end)
    level[0] = heads[pri % 8].level
    return write_line(&header, &script, pri, receipt, zone, to) - to


cdef inline uint8_t *put_field(
    uint8_t *to, const char *key, size_t size, const Part *text, const Script *script
) noexcept nogil:
    """A key with its quotes and colon, and its value if there is one."""
    if text.start == text.end:
        return to
    to = put(to, key, size)
    to = put_part(to, text, script)
    to[0] = c'"'
    return to + 1


cdef inline uint8_t *put_seqno(uint8_t *to, const Header *header, const Script *script) noexcept nogil:
    if header.seqno_behind.start == NULL:
        return put_field(to, b',"seqno":"', 10, &header.seqno, script)
    if header.seqno.start == NULL:
        return put_field(to, b',"seqno":"', 10, &header.seqno_behind, script)
    to = put_field(to, b',"seqno":"', 10, &header.seqno, script) - 1  # its closing quote comes later
    to = put(to, b': ', 2)
    to = put_part(to, &header.seqno_behind, script)
    return put(to, b'"', 1)


cdef uint8_t *write_line(
    const Header *header, const Script *script, unsigned int pri, const Receipt *receipt, const Zone *zone, uint8_t *to
) noexcept nogil:
    cdef int64_t usec
    cdef bint has_moment = find_moment(header, receipt, zone, &usec)
    cdef const uint8_t *source = <const uint8_t *>receipt.source
    memcpy(to, heads[pri % 8].text, HEAD_ROOM)
    to = put_part(to + heads[pri % 8].size, &header.message, script)
    to = put(to, b'","timestamp":"', 15)
    if has_moment:
        write_moment(usec, <char *>to)
    else:
        memcpy(to, receipt.time, TIME_BYTES)
    to = put(to + TIME_BYTES, b'"', 1)
    to = put_field(to, b',"app":"', 8, &header.app, script)
    if header.host.start != header.host.end:
        to = put_field(to, b',"host":"', 9, &header.host, script)
    elif receipt.host_size:
        to = put(to, b',"host":"', 9)
        to = fl_copy(to, source + receipt.host_at, source + receipt.host_at + receipt.host_size)
        to = put(to, b'"', 1)
    memcpy(to, pri_texts[pri].text, PRI_TEXT_ROOM)
    to += pri_texts[pri].size
    to = put_field(to, b',"pid":"', 8, &header.pid, script)
    to = put_field(to, b',"msgid":"', 10, &header.msgid, script)
    to = put_seqno(to, header, script)
    if header.item_count:
        to = put_structured_data(to, header, script)
    if has_moment:
        to = put(to, b',"received":"', 13)
        memcpy(to, receipt.time, TIME_BYTES)
        to = put(to + TIME_BYTES, b'"', 1)
    else:
        to = put_field(to, b',"stamp":"', 10, &header.stamp, script)
    to = put(to, b',"source":"', 11)
    to = fl_copy(to, source, source + receipt.source_size)
    if script.is_latin1:
        to = put(to, b'","charset":"latin-1', 20)
    return put(to, b'"}\n', 3)


# For Python


@cython.final
cdef class ZonePeriods:
    """The time zone of stamps without one, for C. `name`: as in SYSLOG_ZONE; empty: none."""

    def __cinit__(self, str name not None):
        cdef bytes abbreviation
        found = []
        if name:
            from fastlog.inputs.zones import periods  # here, since most servers load no time zones

            found = periods(name)
        self.zone.count = len(found)
        self.zone.periods = self.periods = <Period *>calloc(len(found) or 1, sizeof(Period))
        if self.periods == NULL:
            raise MemoryError
        for i, period in enumerate(found):
            abbreviation = period.name.encode()[:ZONE_NAME_ROOM]
            self.periods[i].start_usec = period.start * USEC
            self.periods[i].offset_usec = period.offset * USEC
            self.periods[i].name_size = len(abbreviation)
            memcpy(self.periods[i].name, <const char *>abbreviation, len(abbreviation))

    def __dealloc__(self):
        free(self.periods)
