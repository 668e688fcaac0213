/* SipHash-c-d (Aumasson and Bernstein, 2012): a keyed hash, so that no sender can choose inputs that collide. */
#ifndef FASTLOG_SIPHASH_H
#define FASTLOG_SIPHASH_H
#include <stddef.h>
#include <stdint.h>

static inline uint64_t fl_rotl(uint64_t x, int b) { return x << b | x >> (64 - b); }

static inline void fl_sip_rounds(uint64_t v[4], int rounds) {
  while (rounds-- > 0) {
    v[0] += v[1], v[1] = fl_rotl(v[1], 13) ^ v[0], v[0] = fl_rotl(v[0], 32);
    v[2] += v[3], v[3] = fl_rotl(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = fl_rotl(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = fl_rotl(v[1], 17) ^ v[2], v[2] = fl_rotl(v[2], 32);
  }
}

static inline void fl_sip_begin(uint64_t v[4], const uint64_t key[2]) {
  v[0] = key[0] ^ 0x736f6d6570736575ull, v[1] = key[1] ^ 0x646f72616e646f6dull;
  v[2] = key[0] ^ 0x6c7967656e657261ull, v[3] = key[1] ^ 0x7465646279746573ull;
}

static inline void fl_sip_word(uint64_t v[4], uint64_t word, int rounds) {
  v[3] ^= word;
  fl_sip_rounds(v, rounds);
  v[0] ^= word;
}

static inline uint64_t fl_sip_end(uint64_t v[4], int rounds) {
  v[2] ^= 0xff;
  fl_sip_rounds(v, rounds);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static inline uint64_t fl_sip_bytes(const uint8_t *p, size_t size) { /* little-endian, as the paper has it */
  uint64_t word = 0;
  for (size_t i = 0; i < size; i++) word |= (uint64_t)p[i] << (8 * i);
  return word;
}

/* SipHash-2-4, which the authors recommend, of any bytes. */
static inline uint64_t fl_siphash24(const uint64_t key[2], const uint8_t *p, size_t size) {
  uint64_t v[4];
  const uint8_t *end = p + (size & ~(size_t)7);
  fl_sip_begin(v, key);
  for (; p < end; p += 8) fl_sip_word(v, fl_sip_bytes(p, 8), 2);
  fl_sip_word(v, (uint64_t)size << 56 | fl_sip_bytes(p, size & 7), 2);
  return fl_sip_end(v, 4);
}

/* SipHash-1-3, which suffices for a hash table, of whole words. */
static inline uint64_t fl_siphash13(const uint64_t key[2], const uint64_t *words, size_t count) {
  uint64_t v[4];
  fl_sip_begin(v, key);
  for (size_t i = 0; i < count; i++) fl_sip_word(v, words[i], 1);
  fl_sip_word(v, (uint64_t)(count * 8) << 56, 1);
  return fl_sip_end(v, 3);
}

#endif
