/* Vector steps of the scan: the end of plain string text, and eight digits at once.
 *
 * Plain is printable ASCII other than '"' and '\\'. Everything else (the closing quote, an escape, a control
 * character, a byte of a multi-byte character) needs a decision and ends the run.
 * SSE2 and NEON belong to the base of x86-64 and AArch64, so nothing is chosen at run time; elsewhere eight bytes are
 * tested at once in an ordinary register.
 *
 * Less than a step before `end`, the last step that ends there is taken again: it reads bytes that were read before, from
 * `start` on, and ignores them.
 */
#ifndef FASTLOG_SIMD_H
#define FASTLOG_SIMD_H
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>

/* A bit for each of 16 bytes that is not plain. */
static inline unsigned fl_stops(const uint8_t *p) {
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);
  __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
  /* bytes from 0x80 are negative as signed ones, so one comparison finds them and the control characters */
  __m128i stop = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash)), _mm_cmplt_epi8(x, space));
  return (unsigned)_mm_movemask_epi8(stop);
}

static inline const uint8_t *fl_skip_plain(const uint8_t *p, const uint8_t *end, const uint8_t *start) {
  while (end - p >= 16) {
    unsigned mask = fl_stops(p);
    if (mask) return p + __builtin_ctz(mask);
    p += 16;
  }
  if (p < end && end - start >= 16) {
    unsigned mask = fl_stops(end - 16) >> (16 - (end - p));
    return mask ? p + __builtin_ctz(mask) : end;
  }
  while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
}

#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

/* Four bits for each of 16 bytes that is not plain: the narrowing shift is NEON's stand-in for movemask. */
static inline uint64_t fl_stops(const uint8_t *p) {
  uint8x16_t x = vld1q_u8(p);
  uint8x16_t stop = vorrq_u8(vorrq_u8(vceqq_u8(x, vdupq_n_u8('"')), vceqq_u8(x, vdupq_n_u8('\\'))),
                             vcltq_s8(vreinterpretq_s8_u8(x), vdupq_n_s8(0x20)));
  return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(stop), 4)), 0);
}

static inline const uint8_t *fl_skip_plain(const uint8_t *p, const uint8_t *end, const uint8_t *start) {
  while (end - p >= 16) {
    uint64_t mask = fl_stops(p);
    if (mask) return p + (__builtin_ctzll(mask) >> 2);
    p += 16;
  }
  if (p < end && end - start >= 16) {
    uint64_t mask = fl_stops(end - 16) >> (4 * (16 - (end - p)));
    return mask ? p + (__builtin_ctzll(mask) >> 2) : end;
  }
  while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
}

#else

static inline const uint8_t *fl_skip_plain(const uint8_t *p, const uint8_t *end, const uint8_t *start) {
  (void)start;
  const uint64_t ones = 0x0101010101010101ull, highs = 0x8080808080808080ull;
  while (end - p >= 8) {
    uint64_t x;
    memcpy(&x, p, 8);
    uint64_t quote = x ^ (ones * '"'), backslash = x ^ (ones * '\\');
    /* a byte is zero exactly where (v - ones) & ~v has its high bit; false alarms above a true hit do no harm here */
    uint64_t stop = ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | (x - ones * 0x20) | x;
    if (stop & highs) break;
    p += 8;
  }
  while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
}

#endif

/* Whether the eight bytes at p are digits; then their value is in `value`. Never, where bytes stand the other way. */
static inline int fl_eight_digits(const uint8_t *p, uint64_t *value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint64_t x;
  memcpy(&x, p, 8);
  /* 0x30 to 0x39: the high half is 3, and still is when 6 is added */
  if (((x & 0xF0F0F0F0F0F0F0F0ull) | (((x + 0x0606060606060606ull) & 0xF0F0F0F0F0F0F0F0ull) >> 4)) != 0x3333333333333333ull)
    return 0;
  /* neighbours are joined: digits to pairs, pairs to fours, fours to eight */
  x = (x & 0x0F0F0F0F0F0F0F0Full) * (10 * 256 + 1) >> 8;
  x = (x & 0x00FF00FF00FF00FFull) * (100 * 65536ull + 1) >> 16;
  *value = (x & 0x0000FFFF0000FFFFull) * (10000 * 4294967296ull + 1) >> 32;
  return 1;
#else
  (void)p, (void)value;
  return 0;
#endif
}
#endif
