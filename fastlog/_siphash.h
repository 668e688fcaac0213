/* SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash, so that no sender can make up entries that collide. */
#ifndef FASTLOG_SIPHASH_H
#define FASTLOG_SIPHASH_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t fl_rotl(uint64_t x, int b) { return x << b | x >> (64 - b); }

static inline void fl_sipround(uint64_t v[4]) {
  v[0] += v[1], v[1] = fl_rotl(v[1], 13) ^ v[0], v[0] = fl_rotl(v[0], 32);
  v[2] += v[3], v[3] = fl_rotl(v[3], 16) ^ v[2];
  v[0] += v[3], v[3] = fl_rotl(v[3], 21) ^ v[0];
  v[2] += v[1], v[1] = fl_rotl(v[1], 17) ^ v[2], v[2] = fl_rotl(v[2], 32);
}

static inline uint64_t fl_word(const uint8_t *p, size_t size) { /* little-endian, as the paper has it */
  uint64_t word = 0;
  for (size_t i = 0; i < size; i++) word |= (uint64_t)p[i] << (8 * i);
  return word;
}

static inline uint64_t fl_siphash(const uint64_t key[2], const uint8_t *p, size_t size) {
  uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull, key[0] ^ 0x6c7967656e657261ull,
                   key[1] ^ 0x7465646279746573ull};
  const uint8_t *end = p + (size & ~(size_t)7);
  for (; p < end; p += 8) {
    uint64_t word = fl_word(p, 8);
    v[3] ^= word;
    fl_sipround(v), fl_sipround(v);
    v[0] ^= word;
  }
  uint64_t last = (uint64_t)size << 56 | fl_word(p, size & 7);
  v[3] ^= last;
  fl_sipround(v), fl_sipround(v);
  v[0] ^= last;
  v[2] ^= 0xff;
  for (int i = 0; i < 4; i++) fl_sipround(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
