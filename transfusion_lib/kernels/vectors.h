// Sixteen channels at once, as float or bfloat16 in memory and as float in registers.

#pragma once

#include <cstdint>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;

// Vectors of GCC and Clang, without alignment; a processor with shorter ones gets several of its own.
typedef float Floats __attribute__((vector_size(64), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(64), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(64), aligned(4)));
typedef uint16_t Halves __attribute__((vector_size(32), aligned(2)));
typedef uint8_t Bytes __attribute__((vector_size(16), aligned(1)));

typedef uint16_t BFloat16;  // the upper half of a float

inline Floats load(const float *from) { return *reinterpret_cast<const Floats *>(from); }

#ifdef __AVX512F__  // one instruction each, where GCC 12 takes five and three
inline Words widened(Halves halves) { return (Words)_mm512_cvtepu16_epi32((__m256i)halves); }
inline Halves narrowed(Words words) { return (Halves)_mm512_cvtepi32_epi16((__m512i)words); }
#else
inline Words widened(Halves halves) { return __builtin_convertvector(halves, Words); }
inline Halves narrowed(Words words) { return __builtin_convertvector(words, Halves); }
#endif

inline Floats load(const BFloat16 *from) {
    return (Floats)(widened(*reinterpret_cast<const Halves *>(from)) << 16);
}

// From bytes to words by way of halves: else GCC 12 goes element by element, which doubles the time of pooling.cpp.
inline Ints load(const uint8_t *from) {
    const Halves halves = __builtin_convertvector(*reinterpret_cast<const Bytes *>(from), Halves);
    return (Ints)widened(halves);
}

inline void store(float *to, Floats values) { *reinterpret_cast<Floats *>(to) = values; }

// To the nearest, ties to even, as PyTorch does.
inline void store(BFloat16 *to, Floats values) {
    const Words bits = (Words)values;
    const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Words upper = (values != values) ? Words{} + 0x7fc0 : rounded;
    *reinterpret_cast<Halves *>(to) = narrowed(upper);
}

inline void store(uint8_t *to, Ints values) {
    const Halves halves = narrowed((Words)values);
    *reinterpret_cast<Bytes *>(to) = __builtin_convertvector(halves, Bytes);
}

inline void add(double *sums, Floats values) {
    for (int lane = 0; lane < LANES; lane++) sums[lane] += values[lane];
}

}  // namespace
