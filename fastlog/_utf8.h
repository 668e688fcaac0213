/* A character of UTF-8. Nothing is read outside of [p, end). */
#ifndef FASTLOG_UTF8_H
#define FASTLOG_UTF8_H
#include <stdint.h>

static inline int fl_is_continuation(uint8_t c) { return (c & 0xC0) == 0x80; }

/* Bytes of the character at p, which is before `end`, or 0 if it is not well formed (Unicode 15, table 3-7). */
static inline int fl_utf8_size(const uint8_t *p, const uint8_t *end) {
  const uint8_t c = p[0];
  if (c < 0x80) return 1;
  if (c < 0xC2 || c > 0xF4) return 0;
  if (c < 0xE0) return end - p >= 2 && fl_is_continuation(p[1]) ? 2 : 0;
  if (c < 0xF0) {
    if (end - p < 3 || !fl_is_continuation(p[1]) || !fl_is_continuation(p[2])) return 0;
    return (c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] > 0x9F) ? 0 : 3;
  }
  if (end - p < 4 || !fl_is_continuation(p[1]) || !fl_is_continuation(p[2]) || !fl_is_continuation(p[3])) return 0;
  return (c == 0xF0 && p[1] < 0x90) || (c == 0xF4 && p[1] > 0x8F) ? 0 : 4;
}

#endif
