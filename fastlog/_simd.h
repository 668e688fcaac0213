/* Vector steps of the scan: the ends of plain string text, and eight digits at once.
 *
 * Plain is printable ASCII other than '"' and '\\'. Everything else (the closing quote, an escape, a control
 * character, a byte of a multi-byte character) needs a decision: it is a stop.
 *
 * A window of 64 bytes is searched at once. Most strings are short, so it holds the ends of several, and finding the next
 * one is a shift that need not wait for a load and comparisons.
 * Every x86-64 has SSE2 and every AArch64 has NEON, so nothing is chosen at run time. Other processors test eight bytes at
 * once in an ordinary register.
 */
#ifndef FASTLOG_SIMD_H
#define FASTLOG_SIMD_H
#include <stdint.h>
#include <string.h>

enum { FL_STEP = 16, FL_WINDOW = 64 };

/* A bit for each of the 64 bytes from `at` on that is a stop; bytes after the end of the text have none. */
typedef struct {
  const uint8_t *at;
  uint64_t stops;
} fl_window;

static inline int fl_is_stop(uint8_t c) { return c < 0x20 || c >= 0x80 || c == '"' || c == '\\'; }

/* A bit for each of 16 bytes that is a stop. */
#if defined(__SSE2__)
#include <emmintrin.h>

static inline uint64_t fl_stops(const uint8_t *p) {
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);
  __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
  /* bytes from 0x80 on are negative when signed, so one comparison finds them and the control characters */
  __m128i stop = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash)), _mm_cmplt_epi8(x, space));
  return (unsigned)_mm_movemask_epi8(stop);
}

#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

static inline uint64_t fl_stops(const uint8_t *p) {
  static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  uint8x16_t x = vld1q_u8(p);
  uint8x16_t stop = vorrq_u8(vorrq_u8(vceqq_u8(x, vdupq_n_u8('"')), vceqq_u8(x, vdupq_n_u8('\\'))),
                             vcltq_s8(vreinterpretq_s8_u8(x), vdupq_n_s8(0x20)));
  /* NEON has no movemask: each byte keeps its own bit, and sums of neighbours join eight of them in a byte */
  stop = vandq_u8(stop, vld1q_u8(bits));
  stop = vpaddq_u8(stop, stop);
  stop = vpaddq_u8(stop, stop);
  stop = vpaddq_u8(stop, stop);
  return vgetq_lane_u16(vreinterpretq_u16_u8(stop), 0);
}

#elif __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

/* The high bit of each byte that is a stop. No carry or borrow leaves a byte, so each byte is tested by itself. */
static inline uint64_t fl_stops_of_eight(const uint8_t *p) {
  const uint64_t ones = 0x0101010101010101ull, highs = 0x8080808080808080ull;
  uint64_t x, plain;
  memcpy(&x, p, 8);
  plain = ((x & ~highs) + ones * (0x80 - 0x20)) & (((x ^ ones * '"') & ~highs) + ~highs) & (((x ^ ones * '\\') & ~highs) + ~highs);
  return (~plain | x) & highs;
}

static inline uint64_t fl_stops(const uint8_t *p) {
  const uint64_t join = 0x0002040810204081ull; /* moves the high bits of eight bytes into the highest one */
  return (fl_stops_of_eight(p) * join >> 56) | (fl_stops_of_eight(p + 8) * join >> 56) << 8;
}

#else

static inline uint64_t fl_stops(const uint8_t *p) {
  uint64_t stops = 0;
  for (int i = 0; i < FL_STEP; i++) stops |= (uint64_t)fl_is_stop(p[i]) << i;
  return stops;
}

#endif

static inline uint64_t fl_stops_of_window(const uint8_t *p) {
  return fl_stops(p) | fl_stops(p + 16) << 16 | fl_stops(p + 32) << 32 | fl_stops(p + 48) << 48;
}

/* The stops of [at, end), which is shorter than a window. Reads nothing before `start` and nothing from `end` on: the last
 * step is moved back to end at `end`, and tests some bytes twice. */
static uint64_t fl_last_stops(const uint8_t *at, const uint8_t *end, const uint8_t *start) {
  const unsigned size = (unsigned)(end - at);
  uint64_t stops = 0;
  unsigned i = 0;
  for (; size - i >= FL_STEP; i += FL_STEP) stops |= fl_stops(at + i) << i;
  if (i < size && end - start >= FL_STEP) return stops | fl_stops(end - FL_STEP) >> (FL_STEP - (size - i)) << i;
  for (; i < size; i++) stops |= (uint64_t)fl_is_stop(at[i]) << i;
  return stops;
}

/* The first stop of [p, end), or `end`, if the window does not show one. */
static __attribute__((noinline)) const uint8_t *fl_move_window(const uint8_t *p, const uint8_t *end, const uint8_t *start,
                                                               fl_window *window) {
  if ((uintptr_t)p - (uintptr_t)window->at < FL_WINDOW) p = window->at + FL_WINDOW;
  while (p < end) {
    const uint8_t *at = p;
    if (end - p < FL_WINDOW && end - start >= FL_WINDOW) at = end - FL_WINDOW;
    window->at = at;
    window->stops = end - at < FL_WINDOW ? fl_last_stops(at, end, start) : fl_stops_of_window(at);
    if (window->stops >> (p - at)) return p + __builtin_ctzll(window->stops >> (p - at));
    p = at + FL_WINDOW;
  }
  return end;
}

/* The first stop of [p, end), or `end`. It may read back from p as far as `start`. */
static inline const uint8_t *fl_skip_plain(const uint8_t *p, const uint8_t *end, const uint8_t *start, fl_window *window) {
  const uintptr_t passed = (uintptr_t)p - (uintptr_t)window->at;
  if (passed < FL_WINDOW && window->stops >> passed) return p + __builtin_ctzll(window->stops >> passed);
  return fl_move_window(p, end, start, window);
}

/* Whether the eight bytes at p are digits; if so, `value` is their number. Big-endian machines always get 0. */
static inline int fl_eight_digits(const uint8_t *p, uint64_t *value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint64_t x;
  memcpy(&x, p, 8);
  /* digits are 0x30 to 0x39: the high half is 3, and adding 6 leaves it 3 */
  if (((x & 0xF0F0F0F0F0F0F0F0ull) | (((x + 0x0606060606060606ull) & 0xF0F0F0F0F0F0F0F0ull) >> 4)) != 0x3333333333333333ull)
    return 0;
  /* joins neighbours: digits to pairs, pairs to fours, fours to eight */
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
