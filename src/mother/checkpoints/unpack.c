/* Codes to numbers, for what numpy is slow at: the same values bit for bit as the Python beside them,
 * which is why it is built without contraction of products and sums. */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define CLONES
#endif

static inline float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint32_t to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* To the nearest float16, ties to even. Below the normal ones, adding a half rounds. */
static inline uint16_t to_half(float f) {
    uint32_t u = to_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    uint32_t normal = (a + 0xfff + (a >> 13 & 1) - (112u << 23)) >> 13;
    uint32_t small = to_bits(from_bits(a) + 0.5f) - to_bits(0.5f);
    uint32_t finite = a < 113u << 23 ? small : normal > 0x7c00 ? 0x7c00 : normal;
    uint32_t special = a > 0x7f800000 ? 0x7e00 : 0x7c00;
    return (uint16_t)(sign | (a >= 0x7f800000 ? special : finite));
}

static inline uint16_t to_bfloat(float f) {
    uint32_t u = to_bits(f);
    uint32_t quiet = (u >> 16) | 0x40;
    uint32_t near = (u + 0x7fff + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? quiet : near);
}

enum number { F32 = 0, F16 = 1, BF16 = 2 };

static inline float from_half(uint16_t h) {
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t bits = to_bits(from_bits(magnitude) * 0x1p112f);
    if ((h & 0x7c00) == 0x7c00) bits = magnitude | 0x7f800000;
    return from_bits(bits | (uint32_t)(h & 0x8000) << 16);
}

/* Blocks of Q4_K, 144 bytes of 256 numbers each: scale and low as float16, both for each of eight
 * runs in six bits, then codes: the low halves of 32 bytes are a run, the high ones the next. */
CLONES void mother_q4_k(const uint8_t *block, int64_t blocks, float *out) {
    for (int64_t b = 0; b < blocks; b++, block += 144) {
        const uint8_t *six = block + 4, *codes = block + 16;
        const float d = from_half((uint16_t)(block[0] | block[1] << 8));
        const float m = from_half((uint16_t)(block[2] | block[3] << 8));
        for (int r = 0; r < 8; r += 2, codes += 32, out += 64) {
            float scale[2], low[2];
            for (int i = 0; i < 2; i++) {
                const int k = r + i;
                const int s = k < 4 ? six[k] & 63 : (six[k + 4] & 15) | six[k - 4] >> 6 << 4;
                const int l = k < 4 ? six[k + 4] & 63 : six[k + 4] >> 4 | six[k] >> 6 << 4;
                scale[i] = d * (float)s;
                low[i] = m * (float)l;
            }
            for (int k = 0; k < 32; k++) out[k] = scale[0] * (float)(codes[k] & 15) - low[0];
            for (int k = 0; k < 32; k++) out[32 + k] = scale[1] * (float)(codes[k] >> 4) - low[1];
        }
    }
}

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
/* The processor's own conversion, three times as fast, of as many eights as there are. */
static __attribute__((target("avx,f16c"))) int64_t eights_to_halves(const float *row, int64_t count,
                                                                    uint16_t *to) {
    int64_t k = 0;
    for (; k + 8 <= count; k += 8)
        _mm_storeu_si128((__m128i *)(to + k), _mm256_cvtps_ph(_mm256_loadu_ps(row + k), 0));
    return k;
}
#define CONVERTS __builtin_cpu_supports("f16c")
#else
#define eights_to_halves(row, count, to) 0
#define CONVERTS 0
#endif

static void to_halves(const float *row, int64_t count, uint16_t *to) {
    for (int64_t k = CONVERTS ? eights_to_halves(row, count, to) : 0; k < count; k++)
        to[k] = to_half(row[k]);
}

static inline void to_bfloats(const float *row, int64_t count, uint16_t *to) {
    for (int64_t k = 0; k < count; k++) to[k] = to_bfloat(row[k]);
}

enum { TALL = 128, WIDE = 16 }; /* words of a tile; a line of the cache holds WIDE of them */

struct columns {
    const uint32_t *words; /* rows `stride` words apart */
    int64_t stride, rows, columns;
    const int32_t *groups; /* of each word, or of each code */
    const float *zeros, *scales; /* (columns, many) */
    int64_t many;
    int number;
    void *out;
};

/* One column of a tile, as float32. each: whether each code has a group of its own. */
static inline __attribute__((always_inline)) void one(const struct columns *in, const uint32_t *tile,
                                                      int64_t column, int64_t first, int tall,
                                                      const int bits, const int each, float *row) {
    const int per = 32 / bits;
    const uint32_t mask = (1u << bits) - 1;
    const float *zeros = in->zeros + column * in->many, *scales = in->scales + column * in->many;
    const int32_t *groups = in->groups + first * (each ? per : 1);
    for (int w = 0; w < tall; w++, row += per) {
        const float z = zeros[groups[each ? 0 : w]], s = scales[groups[each ? 0 : w]];
        for (int k = 0; k < per; k++) {
            const float code = (float)(int32_t)(tile[w] >> bits * k & mask);
            if (each) {
                const int32_t g = groups[w * per + k];
                row[k] = (code - zeros[g]) * scales[g];
            } else {
                row[k] = (code - z) * s;
            }
        }
    }
}

static inline __attribute__((always_inline)) void tiles(const struct columns *in, const int bits,
                                                        const int each) {
    const int per = 32 / bits;
    const int64_t inputs = in->rows * per;
    uint32_t tile[WIDE][TALL];
    float row[TALL * 8];
    for (int64_t c0 = 0; c0 < in->columns; c0 += WIDE) {
        const int wide = in->columns - c0 < WIDE ? (int)(in->columns - c0) : WIDE;
        for (int64_t w0 = 0; w0 < in->rows; w0 += TALL) {
            const int tall = in->rows - w0 < TALL ? (int)(in->rows - w0) : TALL;
            for (int w = 0; w < tall; w++)
                for (int c = 0; c < wide; c++)
                    tile[c][w] = in->words[(w0 + w) * in->stride + c0 + c];
            for (int c = 0; c < wide; c++) {
                const int64_t at = (c0 + c) * inputs + w0 * per;
                float *to = in->number == F32 ? (float *)in->out + at : row;
                one(in, tile[c], c0 + c, w0, tall, bits, each, to);
                if (in->number == F16) to_halves(row, tall * per, (uint16_t *)in->out + at);
                if (in->number == BF16) to_bfloats(row, tall * per, (uint16_t *)in->out + at);
            }
        }
    }
}

CLONES static void fours(const struct columns *in, int each) {
    if (each)
        tiles(in, 4, 1);
    else
        tiles(in, 4, 0);
}

CLONES static void eights(const struct columns *in, int each) {
    if (each)
        tiles(in, 8, 1);
    else
        tiles(in, 8, 0);
}

/* Columns of words, each of which holds 32 / bits codes that follow one another along the inputs:
 * (code - zero) * scale, as `number`, (columns, inputs). bits: 4 or 8. groups: of each word where
 * one holds for all its codes (each = 0), else of each code. */
void mother_columns(const uint32_t *words, int64_t stride, int64_t rows, int64_t columns, int bits,
                    const int32_t *groups, int each, const float *zeros, const float *scales,
                    int64_t many, int number, void *out) {
    const struct columns in = {words, stride, rows,   columns, groups,
                               zeros, scales, many, number,  out};
    if (bits == 4)
        fours(&in, each);
    else
        eights(&in, each);
}
