/* Finds a few bytes in a line. With `fold` 0x20 letters are compared without case. Some other bytes count as equal then,
 * too, so a hit is only a candidate. */
#ifndef FASTLOG_FIND_H
#define FASTLOG_FIND_H
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Whether the needle is at p, from which at least `size` bytes must be readable. */
static inline int fl_is_at(const uint8_t *p, const uint8_t *needle, size_t size, uint8_t fold) {
  for (size_t i = 0; i < size; i++)
    if ((p[i] | fold) != (needle[i] | fold)) return 0;
  return 1;
}

#if defined(__SSE2__)
/* Where of sixteen places the first and the last byte of a needle of this size fit. */
static inline __m128i fl_fits(const uint8_t *p, size_t size, __m128i folds, __m128i first, __m128i last) {
  __m128i a = _mm_or_si128(_mm_loadu_si128((const __m128i *)(const void *)p), folds);
  __m128i b = _mm_or_si128(_mm_loadu_si128((const __m128i *)(const void *)(p + size - 1)), folds);
  return _mm_and_si128(_mm_cmpeq_epi8(a, first), _mm_cmpeq_epi8(b, last));
}
#endif

/* Where `needle`, which has at least one byte, begins first in [p, end); NULL: nowhere. */
static inline const uint8_t *fl_find(const uint8_t *p, const uint8_t *end, const uint8_t *needle, size_t size, uint8_t fold) {
#if defined(__SSE2__)
  /* Sixteen places at once: where the first and the last byte fit, the others are compared. It takes two
   * steps in one as long as there is room, since most find nothing. */
  const __m128i folds = _mm_set1_epi8((char)fold);
  const __m128i first = _mm_set1_epi8((char)(needle[0] | fold)), last = _mm_set1_epi8((char)(needle[size - 1] | fold));
  while ((size_t)(end - p) >= size + 15) {
    int is_long = (size_t)(end - p) >= size + 31;
    __m128i low = fl_fits(p, size, folds, first, last);
    __m128i high = is_long ? fl_fits(p + 16, size, folds, first, last) : _mm_setzero_si128();
    if (_mm_movemask_epi8(_mm_or_si128(low, high))) {
      uint32_t mask = (uint32_t)_mm_movemask_epi8(low) | (uint32_t)_mm_movemask_epi8(high) << 16;
      for (; mask; mask &= mask - 1)
        if (fl_is_at(p + __builtin_ctz(mask), needle, size, fold)) return p + __builtin_ctz(mask);
    }
    p += is_long ? 32 : 16;
  }
#endif
  for (; (size_t)(end - p) >= size; p++)
    if (fl_is_at(p, needle, size, fold)) return p;
  return NULL;
}

#endif
