/* The inner loops of the streaming pass: everything here works on n blocks of `count`
 * consecutive weights, one block a checkpoint, and never allocates more than two tiles.
 * numpy_kernel.py states the same five functions in numpy. Built to assume finite numbers, so
 * that comparisons become vector instructions: NaN goes through sums as ever, and is found there. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !(defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__))
#define CLONES
#elif __GNUC__ >= 12
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#define INLINE static inline __attribute__((always_inline))

enum dtype { F32 = 0, F64 = 1, F16 = 2, BF16 = 3 };
enum { LANES = 16, ROWS = 4, TILE_MAX = 1024, TILE_BYTES = 1 << 18 };

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
/* Weights in a file sit at any byte offset. */
typedef float f32_at __attribute__((aligned(1), may_alias));
typedef double f64_at __attribute__((aligned(1), may_alias));
typedef uint16_t u16_at __attribute__((aligned(1), may_alias));

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

INLINE void load(const char *src, int dtype, int64_t at, int64_t count, float *restrict out) {
    if (dtype == F32) {
        memcpy(out, src + 4 * at, 4 * (size_t)count);
    } else if (dtype == F64) {
        const f64_at *p = (const f64_at *)src + at;
        for (int64_t k = 0; k < count; k++) out[k] = (float)p[k];
    } else if (dtype == F16) {
        const u16_at *p = (const u16_at *)src + at;
        for (int64_t k = 0; k < count; k++) out[k] = from_half(p[k]);
    } else {
        const u16_at *p = (const u16_at *)src + at;
        for (int64_t k = 0; k < count; k++) out[k] = from_bits((uint32_t)p[k] << 16);
    }
}

INLINE void load_double(const char *src, int dtype, int64_t at, int64_t count, double *restrict out,
                        float *restrict scratch) {
    if (dtype == F64) {
        memcpy(out, src + 8 * at, 8 * (size_t)count);
    } else {
        load(src, dtype, at, count, scratch);
        for (int64_t k = 0; k < count; k++) out[k] = scratch[k];
    }
}

static int64_t tile_length(int64_t rows) {
    int64_t t = TILE_BYTES / (4 * rows) / LANES * LANES;
    return t > TILE_MAX ? TILE_MAX : t < 4 * LANES ? 4 * LANES : t;
}

static void *scratch(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define TURN(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#endif
#endif
#ifndef TURN
typedef int32_t order __attribute__((vector_size(4 * LANES)));
#define TURN(v, ...) __builtin_shuffle(v, (order){__VA_ARGS__})
#endif

/* Sum of the lanes, by halves: compilers make sixteen scalar additions of a plain loop. */
INLINE float total(lanes v) {
    v += TURN(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += TURN(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v += TURN(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    v += TURN(v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    return v[0];
}

/* Dot products of `p` rows from x on with `q` rows from y on, added to out (rows of n). With
 * `lower`, x is y, and only those at and below the diagonal are taken. */
INLINE void dots(const float *x, const float *y, int64_t tile, int64_t length, int p, int q,
                 int lower, double *out, int64_t n) {
    lanes acc[ROWS][ROWS] = {0};
    for (int64_t k = 0; k < length; k += LANES) {
        lanes b[ROWS];
        for (int j = 0; j < q; j++) b[j] = *(const lanes *)(y + j * tile + k);
        for (int i = 0; i < p; i++) {
            lanes a = *(const lanes *)(x + i * tile + k);
            for (int j = 0; j < (lower ? i + 1 : q); j++) acc[i][j] += a * b[j];
        }
    }
    for (int i = 0; i < p; i++)
        for (int j = 0; j < (lower ? i + 1 : q); j++) out[i * n + j] += total(acc[i][j]);
}

/* One tile of increments d_i = w_i - w_ref[i] (w_i if ref[i] < 0), zero to the next full vector. */
INLINE void increments(const char *const *src, const int32_t *dtype, const int64_t *ref, int64_t n,
                       int64_t at, int64_t length, int64_t tile, float *restrict w,
                       float *restrict d, double *restrict a, double *restrict b) {
    for (int64_t i = 0; i < n; i++)
        if (dtype[i] != F32) load(src[i], dtype[i], at, length, w + i * tile);
    for (int64_t i = 0; i < n; i++) {
        float *restrict di = d + i * tile;
        int64_t r = ref[i];
        const f32_at *wi = dtype[i] == F32 ? (const f32_at *)src[i] + at : w + i * tile;
        if (r < 0) {
            for (int64_t k = 0; k < length; k++) di[k] = wi[k];
        } else if (dtype[i] == F64 || dtype[r] == F64) {
            load_double(src[i], dtype[i], at, length, a, di);
            load_double(src[r], dtype[r], at, length, b, di);
            for (int64_t k = 0; k < length; k++) di[k] = (float)(a[k] - b[k]);
        } else {
            const f32_at *wr = dtype[r] == F32 ? (const f32_at *)src[r] + at : w + r * tile;
            for (int64_t k = 0; k < length; k++) di[k] = wi[k] - wr[k];
        }
        for (int64_t k = length; k % LANES; k++) di[k] = 0;
    }
}

/* gram[i * n + j] += <d_i, d_j> for j <= i; above it is undefined. Differences are formed before any product, and every
 * tile's sums are added in double: models that differ by 1e-4 of their norm keep their distance. */
CLONES int mother_gram(const char *const *src, const int32_t *dtype, const int64_t *ref, int64_t n,
                       int64_t count, double *gram) {
    int64_t tile = tile_length(n);
    float *w = scratch(4 * (size_t)(n * tile)), *d = scratch(4 * (size_t)(n * tile));
    double *a = scratch(8 * (size_t)tile), *b = scratch(8 * (size_t)tile);
    int failed = !w || !d || !a || !b;
    for (int64_t at = 0; at < count && !failed; at += tile) {
        int64_t length = count - at < tile ? count - at : tile;
        increments(src, dtype, ref, n, at, length, tile, w, d, a, b);
        for (int64_t i = 0; i < n; i += ROWS) {
            const float *x = d + i * tile;
            for (int64_t j = 0; j <= i; j += ROWS) {
                const float *y = d + j * tile;
                double *out = gram + i * n + j;
                /* the rows left over, at constant counts that keep sums in registers */
                int p = n - i < ROWS ? (int)(n - i) : ROWS;
                if (p == 4 && j < i) dots(x, y, tile, length, 4, 4, 0, out, n);
                else if (p == 4) dots(x, y, tile, length, 4, 4, 1, out, n);
                else if (p == 3 && j < i) dots(x, y, tile, length, 3, 4, 0, out, n);
                else if (p == 3) dots(x, y, tile, length, 3, 3, 1, out, n);
                else if (p == 2 && j < i) dots(x, y, tile, length, 2, 4, 0, out, n);
                else if (p == 2) dots(x, y, tile, length, 2, 2, 1, out, n);
                else if (j < i) dots(x, y, tile, length, 1, 4, 0, out, n);
                else dots(x, y, tile, length, 1, 1, 1, out, n);
            }
        }
    }
    free(w), free(d), free(a), free(b);
    return failed ? -1 : 0;
}

/* linf[i * n + j] = max |w_i - w_j| and l1[i * n + j] += sum |w_i - w_j| for j < i. */
CLONES int mother_distances(const char *const *src, const int32_t *dtype, int64_t n, int64_t count,
                            float *linf, double *l1) {
    int64_t rows = (n + ROWS - 1) / ROWS * ROWS, tile = tile_length(rows);
    float *w = scratch(4 * (size_t)(rows * tile));
    if (!w) return -1;
    memset(w, 0, 4 * (size_t)(rows * tile));
    for (int64_t at = 0; at < count; at += tile) {
        int64_t length = count - at < tile ? count - at : tile;
        int64_t padded = (length + LANES - 1) / LANES * LANES;
        for (int64_t i = 0; i < n; i++) {
            load(src[i], dtype[i], at, length, w + i * tile);
            for (int64_t k = length; k < padded; k++) w[i * tile + k] = 0;
        }
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i; j += ROWS) {
                float top[ROWS][LANES] = {{0}}, sum[ROWS][LANES] = {{0}};
                const float *x = w + i * tile;
                for (int64_t k = 0; k < padded; k += LANES)
                    for (int q = 0; q < ROWS; q++) {
                        const float *y = w + (j + q) * tile;
                        for (int l = 0; l < LANES; l++) {
                            float gap = fabsf(x[k + l] - y[k + l]);
                            sum[q][l] += gap;
                            top[q][l] = gap > top[q][l] ? gap : top[q][l];
                        }
                    }
                for (int q = 0; q < ROWS && j + q < i; q++) {
                    float most = linf[i * n + j + q], total = 0;
                    for (int l = 0; l < LANES; l++) {
                        total += sum[q][l];
                        if (top[q][l] > most) most = top[q][l];
                    }
                    linf[i * n + j + q] = most;
                    l1[i * n + j + q] += total;
                }
            }
    }
    free(w);
    return 0;
}

/* out = mean, M2, M3, M4 (sums of powers about the mean), min, max. Each tile is centred on its
 * own mean, tiles are merged by Pebay's update (SAND2008-6212, eq. 2.1 and 3.1).             */
CLONES int mother_moments(const char *src, int dtype, int64_t count, double *out) {
    float tile[TILE_MAX];
    double n = 0, mean = 0, M2 = 0, M3 = 0, M4 = 0, low = 0, high = 0;
    for (int64_t at = 0; at < count; at += TILE_MAX) {
        int64_t length = count - at < TILE_MAX ? count - at : TILE_MAX;
        load(src, dtype, at, length, tile);
        float sum = 0, least = tile[0], most = tile[0];
        for (int64_t k = 0; k < length; k++) {
            sum += tile[k];
            least = tile[k] < least ? tile[k] : least;
            most = tile[k] > most ? tile[k] : most;
        }
        low = at == 0 || least < low ? least : low;
        high = at == 0 || most > high ? most : high;
        /* exactly, where all are equal: else rounding would pass for a spread */
        float centre = least < most ? sum / (float)length : least, m2 = 0, m3 = 0, m4 = 0;
        for (int64_t k = 0; k < length; k++) {
            float x = tile[k] - centre, x2 = x * x;
            m2 += x2;
            m3 += x2 * x;
            m4 += x2 * x2;
        }
        double a = n, b = (double)length, t = a + b, d = centre - mean, d2 = d * d;
        M4 += m4 + d2 * d2 * a * b * (a * a - a * b + b * b) / (t * t * t) +
              6 * d2 * (a * a * m2 + b * b * M2) / (t * t) + 4 * d * (a * m3 - b * M3) / t;
        M3 += m3 + d2 * d * a * b * (a - b) / (t * t) + 3 * d * (a * m2 - b * M2) / t;
        M2 += m2 + d2 * a * b / t;
        mean += d * b / t;
        n = t;
    }
    double all[] = {mean, M2, M3, M4, low, high};
    memcpy(out, all, sizeof all);
    return 0;
}

/* counts[b] += weights in the b-th of `bins` equal bins of [low, high]; the ends take the rest. */
CLONES int mother_histogram(const char *src, int dtype, int64_t count, double low, double high,
                            int64_t bins, int64_t *counts) {
    float tile[TILE_MAX];
    float scale = (float)((double)bins / (high - low)), shift = (float)low;
    for (int64_t at = 0; at < count; at += TILE_MAX) {
        int64_t length = count - at < TILE_MAX ? count - at : TILE_MAX;
        load(src, dtype, at, length, tile);
        for (int64_t k = 0; k < length; k++) {
            float b = (tile[k] - shift) * scale;
            counts[b >= (float)bins ? bins - 1 : b > 0 ? (int64_t)b : 0]++;
        }
    }
    return 0;
}

/* Elimination of the k x k matrix S (destroyed) with complete pivoting: the number of pivots
 * above stop * sqrt(1 + steps before), by which rounding grows. last: the smallest pivot taken and
 * the one that was not. Costs 2 r k^2, so low ranks are cheap.                              */
CLONES int64_t mother_pivots(double *S, int64_t k, double stop, double *last) {
    double *most = scratch(8 * (size_t)k); /* largest magnitude left in each row */
    if (!most) return -1;
    for (int64_t i = 0; i < k; i++) {
        most[i] = 0;
        for (int64_t j = 0; j < k; j++) most[i] = fmax(most[i], fabs(S[i * k + j]));
    }
    int64_t r = 0;
    for (; r < k; r++) {
        int64_t row = r, column = r;
        for (int64_t i = r; i < k; i++)
            if (most[i] > most[row]) row = i;
        last[1] = most[row];
        if (!(most[row] > stop * sqrt(1.0 + (double)r))) break;
        last[0] = r && last[0] < most[row] ? last[0] : most[row];
        while (column < k - 1 && fabs(S[row * k + column]) != most[row]) column++;
        most[row] = most[r];
        for (int64_t j = r; j < k; j++) {
            double x = S[r * k + j];
            S[r * k + j] = S[row * k + j];
            S[row * k + j] = x;
        }
        for (int64_t i = r; i < k; i++) {
            double x = S[i * k + r];
            S[i * k + r] = S[i * k + column];
            S[i * k + column] = x;
        }
        double *restrict pivot = S + r * k;
        for (int64_t i = r + 1; i < k; i++) {
            double *restrict target = S + i * k, f = target[r] / pivot[r], top = 0;
            for (int64_t j = r + 1; j < k; j++) {
                double x = target[j] - f * pivot[j], size = fabs(x);
                target[j] = x;
                top = size > top ? size : top;
            }
            most[i] = top;
        }
    }
    free(most);
    if (r == k) last[1] = 0;
    return r;
}
