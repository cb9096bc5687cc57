/* The inner loops of the streaming pass: everything here works on n blocks of `count`
 * consecutive weights, one block a checkpoint, and never allocates more than two tiles.
 * numpy_kernel.py states the same in numpy. Built to assume finite numbers, so that comparisons
 * become vector instructions: NaN goes through sums as ever, and is found there. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
/* Sums in arrays get registers only where all their indices are constants. */
#if defined(__GNUC__)
#define UNROLLED _Pragma("GCC unroll 8")
#else
#define UNROLLED
#endif

enum dtype { F32 = 0, F64 = 1, F16 = 2, BF16 = 3 };
static const int64_t bytes[] = {4, 8, 2, 2};
enum sum { GRAM, LINF, LINF_L1 };
/* TILE_BYTES: of a tile in the second-level cache, beside what it is made of. ROW: weights of a row
 * of which some twenty fit the first-level cache. PRODUCTS: summed in float32 by a lane before they
 * are added in float64. AHEAD: tiles that memory is asked for before they are needed. */
enum { TILE = 1024, TILE_BYTES = 1 << 18, ROW = 512, PRODUCTS = 64, AHEAD = 2 };

/* Weights in a file sit at any byte offset. */
typedef float f32_at __attribute__((aligned(1), may_alias));
typedef double f64_at __attribute__((aligned(1), may_alias));
typedef uint16_t u16_at __attribute__((aligned(1), may_alias));
typedef int32_t bits_of __attribute__((may_alias)); /* of a float32 */

/* What is summed over all pairs of models, each (n, n); the lower triangle is written. */
struct sums {
    double *gram;
    bits_of *linf;
    double *l1;
};

/* A model's weights in a tile: where they are, bytes of each. */
struct row {
    const char *at;
    int64_t size;
};

INLINE float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

INLINE float from_half(uint16_t h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t special = (h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u;
    /* 2^112 moves a half's exponent (bias 15) to a float's (bias 127), subnormals included. */
    float scaled = from_bits(magnitude) * 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &scaled, 4);
    return from_bits((special ? (magnitude | special) : bits) | ((uint32_t)(h & 0x8000) << 16));
}

static void *scratch(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

/* Orders of up to 16 lanes in which each is swapped with the one 1, 2, 4 or 8 away. */
static const int32_t SWAP[4][16] __attribute__((aligned(64))) = {
    {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14},
    {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
    {4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11},
    {8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7},
};

/* The loops once for every kind of processor: vectors and blocks must fit its registers. */
#define LANES 4
#define ROWS 3
#define FOR(name) name##_any
#include "loops.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define KINDS 3
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2")
#define LANES 8
#define ROWS 3
#define FOR(name) name##_avx2
#include "loops.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2")
#define LANES 16
#define ROWS 4
#define FOR(name) name##_avx512
#include "loops.h"
#pragma GCC pop_options

/* Which of them is in use: 0, 1 or 2. */
int mother_kind = 0;
__attribute__((constructor)) static void choose(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) mother_kind = 1;
    if (mother_kind && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        mother_kind = 2;
}
#define CHOSEN(f, ...)                                                                             \
    (mother_kind == 2 ? f##_avx512(__VA_ARGS__)                                                    \
                      : mother_kind ? f##_avx2(__VA_ARGS__) : f##_any(__VA_ARGS__))
#else
int mother_kind = 0;
#define CHOSEN(f, ...) f##_any(__VA_ARGS__)
#endif

/* For all pairs j <= i of n models, where the result is not NULL, in one reading:
 *   gram[i * n + j] += <d_i, d_j> with d_i = w_i - w_ref[i] (w_i if ref[i] < 0)
 *   linf[i * n + j] = max |w_i - w_j|    l1[i * n + j] += sum |w_i - w_j|, only beside linf
 *   moments[i * 6 ...] = mean, M2, M3, M4 (sums of powers about the mean), min, max
 * Above the diagonal is undefined. Differences are formed before any product, and every tile's
 * sums are added in double: models that differ by 1e-4 of their norm keep their distance. */
int mother_pass(const char *const *src, const int32_t *dtype, const int64_t *ref, int64_t n,
                int64_t count, double *gram, float *linf, double *l1, double *moments) {
    return CHOSEN(mother_pass, src, dtype, ref, n, count, gram, (bits_of *)linf, l1, moments);
}

/* counts[b] += weights in the b-th of `bins` equal bins of [low, high]; the ends take the rest. */
int mother_histogram(const char *src, int dtype, int64_t count, double low, double high,
                     int64_t bins, int64_t *counts) {
    return CHOSEN(mother_histogram, src, dtype, count, low, high, bins, counts);
}

/* Elimination of the k x k matrix S (destroyed) with complete pivoting: the number of pivots
 * above stop * sqrt(1 + steps before), by which rounding grows. last: the smallest pivot taken and
 * the one that was not. Costs 2 r k^2, so low ranks are cheap. */
int64_t mother_pivots(double *S, int64_t k, double stop, double *last) {
    return CHOSEN(mother_pivots, S, k, stop, last);
}
