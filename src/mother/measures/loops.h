/* The loops themselves, included by kernel.c once for every kind of processor, with
 * LANES  floats in a vector,
 * ROWS   such that ROWS * ROWS sums, and what is added to them, fit the vector registers,
 * FOR(f) the name of f for this kind. */
#define lanes FOR(lanes)
#define ints FOR(ints)
#define turned FOR(turned)
#define total FOR(total)
#define larger FOR(larger)
#define highest FOR(highest)
#define load FOR(load)
#define load_double FOR(load_double)
#define tile_length FOR(tile_length)
#define dots FOR(dots)
#define gaps FOR(gaps)
#define block FOR(block)
#define pairs FOR(pairs)
#define increments FOR(increments)
#define add_moments FOR(add_moments)

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES), may_alias));

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

/* In the order SWAP[s]. */
INLINE lanes turned(lanes v, int s) {
#if defined(__GNUC__) && !defined(__clang__)
    return __builtin_shuffle(v, *(const ints *)SWAP[s]);
#else
    lanes out;
    for (int l = 0; l < LANES; l++) out[l] = v[SWAP[s][l]];
    return out;
#endif
}

/* Sum of the lanes, in pairs: compilers make LANES scalar additions of a plain loop. */
INLINE float total(lanes v) {
    UNROLLED for (int s = 0; 1 << s < LANES; s++) v += turned(v, s);
    return v[0];
}

INLINE ints larger(ints a, ints b) {
    ints out;
    for (int l = 0; l < LANES; l++) out[l] = a[l] > b[l] ? a[l] : b[l];
    return out;
}

INLINE int32_t highest(ints v) {
    UNROLLED for (int s = 0; 1 << s < LANES; s++) v = larger(v, (ints)turned((lanes)v, s));
    return v[0];
}

/* Few enough weights that the rows of a tile stay in the caches, and that float sums are short.
 * Gaps are dearer to take out of their lanes than products, so with them rows are as long as can
 * be. */
static int64_t tile_length(int64_t rows, int gaps) {
    int64_t t = TILE_BYTES / (4 * rows) / LANES * LANES, most = PRODUCTS * LANES;
    if (!gaps && most > ROW) most = ROW;
    return t > most ? most : t < 4 * LANES ? 4 * LANES : t;
}

/* Dot products of `p` rows from x on with `q` rows from y on, added to out (rows of n). With
 * `lower`, x is y, and only those at and below the diagonal are taken. Meanwhile a row of a
 * later tile is fetched: memory works while the processor multiplies. */
INLINE void dots(const float *x, const float *y, int64_t tile, int64_t length, int p, int q,
                 int lower, double *out, int64_t n, struct row next) {
    lanes acc[ROWS][ROWS] = {0};
    for (int64_t k = 0; k < length; k += LANES) {
        __builtin_prefetch(next.at + k * next.size, 0, 2);
        lanes b[ROWS];
        UNROLLED for (int j = 0; j < q; j++) b[j] = *(const lanes *)(y + j * tile + k);
        UNROLLED for (int i = 0; i < p; i++) {
            lanes a = *(const lanes *)(x + i * tile + k);
            UNROLLED for (int j = 0; j < q; j++)
                if (!lower || j <= i) acc[i][j] += a * b[j];
        }
    }
    UNROLLED for (int i = 0; i < p; i++)
        UNROLLED for (int j = 0; j < q; j++)
            if (!lower || j <= i) out[i * n + j] += total(acc[i][j]);
}

/* Largest gaps |x - y|, and with `sums` their sums, of `p` rows from x on to `q` from y on; only
 * those below the diagonal with `lower`. Without a sign, floats are ordered as integers are. */
INLINE void gaps(const float *x, const float *y, int64_t tile, int64_t length, int p, int q,
                 int lower, int sums, bits_of *linf, double *l1, int64_t n, struct row next) {
    ints top[ROWS][ROWS] = {0};
    lanes sum[ROWS][ROWS] = {0};
    for (int64_t k = 0; k < length; k += LANES) {
        __builtin_prefetch(next.at + k * next.size, 0, 2);
        lanes b[ROWS];
        UNROLLED for (int j = 0; j < q; j++) b[j] = *(const lanes *)(y + j * tile + k);
        UNROLLED for (int i = 0; i < p; i++) {
            lanes a = *(const lanes *)(x + i * tile + k);
            UNROLLED for (int j = 0; j < q; j++) {
                if (lower && j >= i) continue;
                ints gap = (ints)(a - b[j]) & 0x7fffffff;
                top[i][j] = larger(gap, top[i][j]);
                if (sums) sum[i][j] += (lanes)gap;
            }
        }
    }
    UNROLLED for (int i = 0; i < p; i++)
        UNROLLED for (int j = 0; j < q; j++) {
            if (lower && j >= i) continue;
            bits_of most = highest(top[i][j]), *held = linf + i * n + j;
            *held = most > *held ? most : *held;
            if (sums) l1[i * n + j] += total(sum[i][j]);
        }
}

INLINE void block(enum sum what, const float *x, const float *y, int64_t tile, int64_t length,
                  int p, int q, int lower, struct sums out, int64_t at, int64_t n,
                  struct row next) {
    int sums = what == LINF_L1;
    if (what == GRAM) dots(x, y, tile, length, p, q, lower, out.gram + at, n, next);
    else gaps(x, y, tile, length, p, q, lower, sums, out.linf + at, out.l1 + at, n, next);
}

/* All pairs of the n rows of a tile, in blocks whose sums stay in registers: for that the numbers
 * of rows are constants, also of the rows left over. */
INLINE void pairs(enum sum what, const float *d, int64_t n, int64_t tile, int64_t length,
                  struct sums out, const struct row *next) {
    int64_t done = 0;
    for (int64_t i = 0; i < n; i += ROWS)
        for (int64_t j = 0; j <= i; j += ROWS, done++) {
            const float *x = d + i * tile, *y = d + j * tile;
            struct row ahead = next[done < n ? done : n - 1];
            int64_t p = n - i, at = i * n + j;
#define BLOCK(p)                                                                                   \
    if (j < i) block(what, x, y, tile, length, p, ROWS, 0, out, at, n, ahead);                     \
    else block(what, x, y, tile, length, p, p, 1, out, at, n, ahead)
            if (p >= ROWS) { BLOCK(ROWS); }
            else if (p == 3) { BLOCK(3); }
            else if (p == 2) { BLOCK(2); }
            else { BLOCK(1); }
#undef BLOCK
        }
}

/* One tile of increments d_i = w_i - w_ref[i] (w_i if ref[i] < 0), zero to the next full vector. */
INLINE void increments(const char *const *src, const int32_t *dtype, const int64_t *ref, int64_t n,
                       int64_t at, int64_t length, int64_t tile, const struct row *w,
                       float *restrict d, double *restrict a, double *restrict b) {
    for (int64_t i = 0; i < n; i++) {
        float *restrict di = d + i * tile;
        int64_t r = ref[i];
        const f32_at *wi = (const f32_at *)w[i].at;
        if (r < 0) {
            for (int64_t k = 0; k < length; k++) di[k] = wi[k];
        } else if (dtype[i] == F64 || dtype[r] == F64) {
            load_double(src[i], dtype[i], at, length, a, di);
            load_double(src[r], dtype[r], at, length, b, di);
            for (int64_t k = 0; k < length; k++) di[k] = (float)(a[k] - b[k]);
        } else {
            const f32_at *wr = (const f32_at *)w[r].at;
            for (int64_t k = 0; k < length; k++) di[k] = wi[k] - wr[k];
        }
        for (int64_t k = length; k % LANES; k++) di[k] = 0;
    }
}

/* Adds a tile to mean, M2, M3, M4 (sums of powers about the mean), min, max of `before` weights.
 * The tile is centred on its own mean, and merged by Pebay (SAND2008-6212, eq. 2.1 and 3.1). */
INLINE void add_moments(const f32_at *w, int64_t length, int64_t before, double *out) {
    float sum = 0, least = w[0], most = w[0];
    for (int64_t k = 0; k < length; k++) {
        sum += w[k];
        least = w[k] < least ? w[k] : least;
        most = w[k] > most ? w[k] : most;
    }
    /* exactly, where all are equal: else rounding would pass for a spread */
    float centre = least < most ? sum / (float)length : least, m2 = 0, m3 = 0, m4 = 0;
    for (int64_t k = 0; k < length; k++) {
        float x = w[k] - centre, x2 = x * x;
        m2 += x2;
        m3 += x2 * x;
        m4 += x2 * x2;
    }
    double M2 = out[1], M3 = out[2], a = (double)before, b = (double)length, t = 1 / (a + b);
    double d = before ? centre - out[0] : centre, d2 = d * d, at = a * t, bt = b * t;
    out[0] += d * bt;
    out[1] += m2 + d2 * a * bt;
    out[2] += m3 + d2 * d * a * bt * (at - bt) + 3 * d * (at * m2 - bt * M2);
    out[3] += m4 + d2 * d2 * a * bt * (at * at - at * bt + bt * bt) +
              6 * d2 * (at * at * m2 + bt * bt * M2) + 4 * d * (at * m3 - bt * M3);
    out[4] = before && out[4] < least ? out[4] : least;
    out[5] = before && out[5] > most ? out[5] : most;
}

static int FOR(mother_pass)(const char *const *src, const int32_t *dtype, const int64_t *ref,
                            int64_t n, int64_t count, double *gram, bits_of *linf, double *l1,
                            double *moments) {
    int64_t tile = tile_length(n, linf != NULL);
    struct sums out = {gram, linf, l1};
    struct row *now = scratch(sizeof *now * (size_t)n), *next = scratch(sizeof *now * (size_t)n);
    float *w = scratch(4 * (size_t)(n * tile)), *d = gram ? scratch(4 * (size_t)(n * tile)) : w;
    double *a = scratch(8 * (size_t)tile), *b = scratch(8 * (size_t)tile);
    int failed = !now || !next || !w || !d || !a || !b;
    for (int64_t at = 0; at < count && !failed; at += tile) {
        int64_t length = count - at < tile ? count - at : tile;
        for (int64_t i = 0; i < n; i++) {
            /* float32 can be used where it lies, but gaps want rows that end in a full vector */
            int in_place = dtype[i] == F32 && !linf;
            float *wi = w + i * tile;
            if (!in_place) load(src[i], dtype[i], at, length, wi);
            for (int64_t k = length; k % LANES; k++) wi[k] = 0;
            now[i].at = in_place ? src[i] + 4 * at : (const char *)wi;
            int64_t later = at + (AHEAD + 1) * tile <= count ? at + AHEAD * tile : at;
            next[i].at = src[i] + later * bytes[dtype[i]];
            next[i].size = bytes[dtype[i]];
        }
        for (int64_t i = 0; i < n && moments; i++)
            add_moments((const f32_at *)now[i].at, length, at, moments + 6 * i);
        if (gram) {
            increments(src, dtype, ref, n, at, length, tile, now, d, a, b);
            pairs(GRAM, d, n, tile, length, out, next);
        }
        if (linf && l1) pairs(LINF_L1, w, n, tile, length, out, next);
        else if (linf) pairs(LINF, w, n, tile, length, out, next);
    }
    free(now), free(next), free(a), free(b), free(w);
    if (d != w) free(d);
    return failed ? -1 : 0;
}

static int FOR(mother_histogram)(const char *src, int dtype, int64_t count, double low, double high,
                            int64_t bins, int64_t *counts) {
    float tile[TILE];
    float scale = (float)((double)bins / (high - low)), shift = (float)low;
    for (int64_t at = 0; at < count; at += TILE) {
        int64_t length = count - at < TILE ? count - at : TILE;
        load(src, dtype, at, length, tile);
        for (int64_t k = 0; k < length; k++) {
            float b = (tile[k] - shift) * scale;
            counts[b >= (float)bins ? bins - 1 : b > 0 ? (int64_t)b : 0]++;
        }
    }
    return 0;
}

static int64_t FOR(mother_pivots)(double *S, int64_t k, double stop, double *last) {
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

#undef lanes
#undef ints
#undef turned
#undef total
#undef larger
#undef highest
#undef load
#undef load_double
#undef tile_length
#undef dots
#undef gaps
#undef block
#undef pairs
#undef increments
#undef add_moments
#undef LANES
#undef ROWS
#undef FOR
