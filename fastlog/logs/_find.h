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

/* Where `needle`, which has at least one byte, begins first in [p, end); NULL: nowhere. */
static inline const uint8_t *fl_find(const uint8_t *p, const uint8_t *end, const uint8_t *needle, size_t size, uint8_t fold) {
#if defined(__SSE2__)
  /* sixteen places at once: where the first and the last byte fit, the others are compared */
  const __m128i folds = _mm_set1_epi8((char)fold);
  const __m128i first = _mm_set1_epi8((char)(needle[0] | fold)), last = _mm_set1_epi8((char)(needle[size - 1] | fold));
  while ((size_t)(end - p) >= size + 15) {
    __m128i a = _mm_or_si128(_mm_loadu_si128((const __m128i *)(const void *)p), folds);
    __m128i b = _mm_or_si128(_mm_loadu_si128((const __m128i *)(const void *)(p + size - 1)), folds);
    unsigned mask = (unsigned)_mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(a, first), _mm_cmpeq_epi8(b, last)));
    for (; mask; mask &= mask - 1)
      if (fl_is_at(p + __builtin_ctz(mask), needle, size, fold)) return p + __builtin_ctz(mask);
    p += 16;
  }
#endif
  for (; (size_t)(end - p) >= size; p++)
    if (fl_is_at(p, needle, size, fold)) return p;
  return NULL;
}

#endif
