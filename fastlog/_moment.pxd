# Moments: RFC 3339 text to microseconds of Unix time, and back. It must agree with `moment.py` on any bytes. It reads
# nothing outside [p, end).

from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    # The length of `2026-11-26T08:30:00.000000Z`.
    TIME_BYTES = 27
    USEC = 1_000_000  # microseconds of a second
    NO_YEAR = -1
    # In place of an offset, which is less than a day.
    NO_OFFSET = 24 * 60
    # The days of 0001-01-01 and 9999-12-31, counted from 1970-01-01.
    FIRST_DAY = -719_162
    LAST_DAY = 2_932_896
    SHORT_TIME_BYTES = 19  # the length of `2026-11-26T08:30:00`

# What a clock shows, and `offset`, its minutes before UTC. Every part is in the range that its digits allow (the day up
# to 31, the second up to 60), so it may be no moment.
cdef struct Clock:
    int year
    int month
    int day
    int hour
    int minute
    int second
    int usec
    int offset

cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return <uint8_t>(c - c'0') <= 9

# The number that two digits at p make, or -1.
cdef inline int two_digits(const uint8_t *p) noexcept nogil:
    return 10 * (p[0] - c'0') + (p[1] - c'0') if is_digit(p[0]) and is_digit(p[1]) else -1

# Days from 1970-01-01 to a day of year 1 or later. Years are counted as if they ended with February.
cdef inline int64_t days_of(int year, int month, int day) noexcept nogil:
    cdef unsigned int y = <unsigned int>(year - (month <= 2))
    cdef unsigned int of_year = (153 * <unsigned int>(month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return <int64_t>(y * 365 + y // 4 - y // 100 + y // 400 + of_year) - 719_468

cdef inline int days_of_month(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 + ((month + (month >> 3)) & 1)

# The fraction of a second at p, its point included. Returns the byte after it, or p if there is none.
cdef inline const uint8_t *read_fraction(const uint8_t *p, const uint8_t *end, int *usec) noexcept nogil:
    cdef int unit = USEC // 10
    usec[0] = 0
    if end - p < 2 or p[0] != c'.' or not is_digit(p[1]):
        return p
    p += 1
    while p < end and is_digit(p[0]):
        usec[0] += unit * (p[0] - c'0')
        unit = unit // 10
        p += 1
    return p

# `hh:mm:ss` with its fraction. Returns the byte after it, or NULL.
cdef inline const uint8_t *read_time_of_day(const uint8_t *p, const uint8_t *end, Clock *clock) noexcept nogil:
    if end - p < 8 or p[2] != c':' or p[5] != c':':
        return NULL
    clock.hour, clock.minute, clock.second = two_digits(p), two_digits(p + 3), two_digits(p + 6)
    if not (0 <= clock.hour <= 23 and 0 <= clock.minute <= 59 and 0 <= clock.second <= 60):
        return NULL
    return read_fraction(p + 8, end, &clock.usec)

# The RFC 3339 text at p, perhaps without an offset. Returns the byte after it, or NULL if there is no such text.
cdef inline const uint8_t *read_clock(const uint8_t *p, const uint8_t *end, Clock *clock) noexcept nogil:
    cdef int hours, minutes, century
    cdef const uint8_t *after
    if end - p < SHORT_TIME_BYTES or p[4] != c'-' or p[7] != c'-' or (p[10] | 0x20) != c't':
        return NULL
    century, clock.year = two_digits(p), two_digits(p + 2)
    clock.month, clock.day = two_digits(p + 5), two_digits(p + 8)
    if century < 0 or clock.year < 0 or not (1 <= clock.month <= 12 and 1 <= clock.day <= 31):
        return NULL
    clock.year += 100 * century
    p = read_time_of_day(p + 11, end, clock)
    if p == NULL:
        return NULL
    clock.offset = NO_OFFSET
    if p < end and (p[0] | 0x20) == c'z':
        clock.offset = 0
        return p + 1
    if end - p >= 5 and (p[0] == c'+' or p[0] == c'-'):
        hours = two_digits(p + 1)
        after = p + 3 + (p[3] == c':')
        if 0 <= hours <= 23 and end - after >= 2:
            minutes = two_digits(after)
            if 0 <= minutes <= 59:
                clock.offset = 60 * hours + minutes if p[0] == c'+' else -60 * hours - minutes
                return after + 2
    return p

# Whether there is a moment from year 1 to 9999 at which this clock shows UTC plus its offset: not so in a leap second,
# on 30 February, or without an offset or a year.
cdef inline bint unix_usec(const Clock *clock, int64_t *usec) noexcept nogil:
    cdef int64_t seconds
    if clock.offset == NO_OFFSET or clock.year < 1 or clock.second > 59:
        return False
    if clock.day > 28 and clock.day > days_of_month(clock.year, clock.month):
        return False
    seconds = days_of(clock.year, clock.month, clock.day) * 86_400
    seconds += clock.hour * 3600 + (clock.minute - clock.offset) * 60 + clock.second
    usec[0] = seconds * USEC + clock.usec
    return FIRST_DAY * 86_400LL <= seconds <= LAST_DAY * 86_400LL + 86_399

# Whether [p, end) is RFC 3339 from its first to its last byte, and a moment.
cdef inline bint read_moment(const uint8_t *p, const uint8_t *end, int64_t *usec) noexcept nogil:
    cdef Clock clock
    return read_clock(p, end, &clock) == end and unix_usec(&clock, usec)

cdef inline void write_two_digits(unsigned int value, char *to) noexcept nogil:
    to[0] = <char>(c'0' + value // 10)
    to[1] = <char>(c'0' + value % 10)

# Writes TIME_BYTES, such as `2026-11-26T08:30:00.123456Z`, for a moment from year 1 to 9999.
cdef inline void write_moment(int64_t usec, char *to) noexcept nogil:
    # Counted from year 1 on, so that nothing is negative.
    cdef uint64_t seconds = <uint64_t>(usec - FIRST_DAY * 86_400LL * USEC) // USEC
    cdef unsigned int fraction = <unsigned int>(usec - FIRST_DAY * 86_400LL * USEC - <int64_t>seconds * USEC)
    cdef unsigned int of_day = <unsigned int>(seconds % 86_400)
    # The calendar whose years end with February, counted from year 0.
    cdef unsigned int since = <unsigned int>(seconds // 86_400) + 306
    cdef unsigned int era = since // 146_097, of_era = since % 146_097
    cdef unsigned int of_eras_years = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    cdef unsigned int of_year = of_era - (365 * of_eras_years + of_eras_years // 4 - of_eras_years // 100)
    cdef unsigned int shifted = (5 * of_year + 2) // 153
    cdef unsigned int month = shifted + 3 if shifted < 10 else shifted - 9
    cdef unsigned int year = era * 400 + of_eras_years + (month <= 2)
    write_two_digits(year // 100, to)
    write_two_digits(year % 100, to + 2)
    to[4] = to[7] = c'-'
    write_two_digits(month, to + 5)
    write_two_digits(of_year - (153 * shifted + 2) // 5 + 1, to + 8)
    to[10] = c'T'
    write_two_digits(of_day // 3600, to + 11)
    to[13] = to[16] = c':'
    write_two_digits(of_day // 60 % 60, to + 14)
    write_two_digits(of_day % 60, to + 17)
    to[19] = c'.'
    write_two_digits(fraction // 10_000, to + 20)
    write_two_digits(fraction // 100 % 100, to + 22)
    write_two_digits(fraction % 100, to + 24)
    to[TIME_BYTES - 1] = c'Z'
