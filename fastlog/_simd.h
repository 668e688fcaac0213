/* One vector step of the string scan: how many of the next bytes are plain string text.
 *
 * Plain is printable ASCII other than '"' and '\\'. Everything else (the closing quote, an escape, a control
 * character, a byte of a multi-byte character) needs a decision and ends the run.
 * SSE2 and NEON belong to the base of x86-64 and AArch64, so nothing is chosen at run time; elsewhere eight bytes are
 * tested at once in an ordinary register.
 */
#ifndef FASTLOG_SIMD_H
#define FASTLOG_SIMD_H
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>

static inline const uint8_t *fl_skip_plain(const uint8_t *p, const uint8_t *end) {
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);
  while (end - p >= 16) {
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    /* bytes from 0x80 are negative as signed ones, so one comparison finds them and the control characters */
    __m128i stop = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash)), _mm_cmplt_epi8(x, space));
    unsigned mask = (unsigned)_mm_movemask_epi8(stop);
    if (mask) return p + __builtin_ctz(mask);
    p += 16;
  }
  while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
}

#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

static inline const uint8_t *fl_skip_plain(const uint8_t *p, const uint8_t *end) {
  while (end - p >= 16) {
    uint8x16_t x = vld1q_u8(p);
    uint8x16_t stop = vorrq_u8(vorrq_u8(vceqq_u8(x, vdupq_n_u8('"')), vceqq_u8(x, vdupq_n_u8('\\'))),
                               vcltq_s8(vreinterpretq_s8_u8(x), vdupq_n_s8(0x20)));
    /* four bits for each byte: the narrowing shift is NEON's stand-in for movemask */
    uint64_t mask = vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(stop), 4)), 0);
    if (mask) return p + (__builtin_ctzll(mask) >> 2);
    p += 16;
  }
  while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return p;
}

#else

static inline const uint8_t *fl_skip_plain(const uint8_t *p, const uint8_t *end) {
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
#endif
