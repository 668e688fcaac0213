/* What converters do with text: they look for its stops, check that it is UTF-8, and copy it into a JSON string. Nothing
 * here reads outside [p, end), and nothing is written behind what is returned, but for the steps of fl_write_text.
 */
#ifndef FASTLOG_TEXT_H
#define FASTLOG_TEXT_H
#include "_simd.h"
#include "_utf8.h"

/* fl_escapes: a bit for each of 16 bytes that JSON needs escaped: '"', '\\' and control characters.
 * fl_blanks: a bit for each of 16 bytes that is a blank or a control character. */
#if defined(__SSE2__)

static inline unsigned fl_escapes(const uint8_t *p) {
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), last = _mm_set1_epi8(0x1f);
  __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
  __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, last), x);
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash)), control));
}

static inline unsigned fl_blanks(const uint8_t *p) {
  __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
  return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x20)), x));
}

#else

static inline unsigned fl_escapes(const uint8_t *p) {
  unsigned found = 0;
  for (int i = 0; i < FL_STEP; i++) found |= (unsigned)(p[i] < 0x20 || p[i] == '"' || p[i] == '\\') << i;
  return found;
}

static inline unsigned fl_blanks(const uint8_t *p) {
  unsigned found = 0;
  for (int i = 0; i < FL_STEP; i++) found |= (unsigned)(p[i] <= 0x20) << i;
  return found;
}

#endif

/* The first blank or control character of [p, end), or `end`. */
static inline const uint8_t *fl_word_end(const uint8_t *p, const uint8_t *end) {
  for (; end - p >= FL_STEP; p += FL_STEP) {
    const unsigned found = fl_blanks(p);
    if (found) return p + __builtin_ctz(found);
  }
  while (p < end && *p > 0x20) p++;
  return p;
}

/* The first byte of [p, end) that is not plain (_simd.h), or `end`. */
static inline const uint8_t *fl_first_stop(const uint8_t *p, const uint8_t *end) {
  const uint8_t *start = p;
  for (; end - p >= FL_STEP; p += FL_STEP) {
    const uint64_t found = fl_stops(p);
    if (found) return p + __builtin_ctzll(found);
  }
  if (p < end && end - start >= FL_STEP) { /* the last step is moved back to end at `end` */
    const uint64_t found = fl_stops(end - FL_STEP) >> (FL_STEP - (end - p));
    return found ? p + __builtin_ctzll(found) : end;
  }
  while (p < end && !fl_is_stop(*p)) p++;
  return p;
}

/* The first byte of [p, end) that is not ASCII, or, since it steps, one of the 15 bytes before it; or `end`. */
static inline const uint8_t *fl_skip_ascii(const uint8_t *p, const uint8_t *end) {
  const uint64_t highs = 0x8080808080808080ull;
  uint64_t x, y;
  for (; end - p >= 16; p += 16) {
    memcpy(&x, p, 8);
    memcpy(&y, p + 8, 8);
    if ((x | y) & highs) return p;
  }
  while (p < end && *p < 0x80) p++;
  return p;
}

static inline int fl_is_utf8(const uint8_t *p, const uint8_t *end) {
  while ((p = fl_skip_ascii(p, end)) < end) {
    /* in most scripts such characters follow each other */
    for (const uint8_t *step = p + FL_STEP; p < end && p < step;) {
      const int size = fl_utf8_size(p, end);
      if (size == 0) return 0;
      p += size;
    }
  }
  return 1;
}

/* Copies [p, end), and returns where the copy ends. Most copies are short, and a call of memcpy would cost them more. */
static inline uint8_t *fl_copy(uint8_t *to, const uint8_t *p, const uint8_t *end) {
  const size_t size = (size_t)(end - p);
  if (size > 32) {
    memcpy(to, p, size);
  } else if (size >= 16) {
    memcpy(to, p, 16);
    memcpy(to + size - 16, end - 16, 16);
  } else if (size >= 8) {
    memcpy(to, p, 8);
    memcpy(to + size - 8, end - 8, 8);
  } else if (size >= 4) {
    memcpy(to, p, 4);
    memcpy(to + size - 4, end - 4, 4);
  } else if (size) {
    to[0] = p[0];
    to[size / 2] = p[size / 2];
    to[size - 1] = end[-1];
  }
  return to + size;
}

/* The byte c as it stands in a JSON string, where it is Latin-1 if it is not ASCII. */
static inline uint8_t *fl_write_byte(uint8_t *to, uint8_t c) {
  static const char digits[] = "0123456789abcdef";
  static const char short_forms[32] = {[8] = 'b', [9] = 't', [10] = 'n', [12] = 'f', [13] = 'r'};
  if (c >= 0x80) {
    *to++ = 0xC0 | c >> 6;
    *to++ = 0x80 | (c & 0x3F);
  } else if (c >= 0x20) {
    if (c == '"' || c == '\\') *to++ = '\\';
    *to++ = c;
  } else if (short_forms[c]) {
    *to++ = '\\';
    *to++ = (uint8_t)short_forms[c];
  } else {
    memcpy(to, "\\u00", 4);
    to[4] = (uint8_t)digits[c >> 4];
    to[5] = (uint8_t)digits[c & 15];
    to += 6;
  }
  return to;
}

/* Copies [p, end) into a JSON string, as Latin-1 or as UTF-8, which it must be. Returns where the copy ends; FL_STEP bytes
 * behind that may have been written. */
static uint8_t *fl_write_text(uint8_t *to, const uint8_t *p, const uint8_t *end, int is_latin1) {
  while (end - p >= FL_STEP) {
    const unsigned found = is_latin1 ? (unsigned)fl_stops(p) : fl_escapes(p);
    memcpy(to, p, FL_STEP);
    if (!found) {
      to += FL_STEP;
      p += FL_STEP;
    } else {
      const int plain = __builtin_ctz(found);
      to = fl_write_byte(to + plain, p[plain]);
      p += plain + 1;
    }
  }
  for (; p < end; p++) {
    if (*p >= 0x80 && !is_latin1) {
      *to++ = *p;
    } else {
      to = fl_write_byte(to, *p);
    }
  }
  return to;
}
#endif
