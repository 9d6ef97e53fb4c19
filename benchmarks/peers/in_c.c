/* The sums behind `training_metrics` and a bare read, as fast as C finds them: one pass over each
   array, in blocks of columns whose counters stay in the first cache.

   Compiled once for each dtype. LANE is an integer as wide as a value, of which HALVES fit into a
   float32. The number of columns is a multiple of the lanes of a vector, that of rows of ROWS and
   below 32768. A positive NaN counts as fired. */
#include <stdint.h>

enum { BYTES = 32, ROWS = 4, COLUMNS = 2048 };
enum { LANES = BYTES / sizeof(LANE), WIDTH = BYTES / sizeof(float) };

typedef LANE lanes __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int32_t pairs __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef float floats __attribute__((vector_size(BYTES), aligned(4), may_alias));

/* A bfloat16 is the upper half of a float32: values at even places are shifted there. */
static inline floats half(lanes bits, int which) {
    if (HALVES == 1) return (floats)bits;
    return which ? (floats)((pairs)bits & ~0xffff) : (floats)((pairs)bits << 16);
}

static float sum_floats(floats values) {
    float sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += values[i];
    return sum;
}

static float sum_lanes(lanes values) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += values[i];
    return sum;
}

LANE read_once(const LANE *x, long size) {
    lanes seen[ROWS] = {0};
    for (long i = 0; i < size; i += ROWS * LANES)
        for (int r = 0; r < ROWS; r++) seen[r] |= *(const lanes *)(x + i + r * LANES);
    return (seen[0] | seen[1] | seen[2] | seen[3])[0];
}

/* Adds to `fired` and `last` (a row, from 1) of each column, and to `l0` and `l1` of each row. */
void learned(const LANE *x, long rows, long columns,
             LANE *fired, LANE *last, float *l0, float *l1) {
    const LANE without_sign = (LANE)~((uint64_t)1 << (8 * sizeof(LANE) - 1));
    for (long begin = 0; begin < columns; begin += COLUMNS) {
        long end = begin + COLUMNS < columns ? begin + COLUMNS : columns;
        for (long row = 0; row < rows; row += ROWS) {
            lanes zeros[ROWS] = {0};
            floats sums[ROWS][HALVES] = {0};
            for (long c = begin; c < end; c += LANES) {
                lanes count = *(lanes *)(fired + c), when = *(lanes *)(last + c);
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; r++) {
                    lanes bits = *(const lanes *)(x + (row + r) * columns + c);
                    lanes fires = bits > 0, magnitude = bits & without_sign;
                    count -= fires;
                    when = (fires & (LANE)(row + r + 1)) | (~fires & when);
                    zeros[r] -= magnitude == 0;
#pragma GCC unroll 2
                    for (int h = 0; h < HALVES; h++) sums[r][h] += half(magnitude, h);
                }
                *(lanes *)(fired + c) = count, *(lanes *)(last + c) = when;
            }
            for (int r = 0; r < ROWS; r++) {
                l0[row + r] += end - begin - sum_lanes(zeros[r]);
                for (int h = 0; h < HALVES; h++) l1[row + r] += sum_floats(sums[r][h]);
            }
        }
    }
}

/* Adds to four sums of each column (source, its square, error, its square), a vector of each in
   turn, and to two of each row (squared error, squared norm of the source). */
void reconstruction(const LANE *source, const LANE *decoded, long rows, long columns,
                    float *moments, float *errors, float *norms) {
    for (long row = 0; row < rows; row += ROWS) {
        floats error_sums[ROWS] = {0}, norm_sums[ROWS] = {0};
        for (long c = 0; c < columns; c += LANES)
            for (int h = 0; h < HALVES; h++) {
                floats *kept = (floats *)(moments + 4 * (c + h * WIDTH));
                floats sum = kept[0], squares = kept[1], bias = kept[2], error_squares = kept[3];
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; r++) {
                    long place = (row + r) * columns + c;
                    floats x = half(*(const lanes *)(source + place), h);
                    floats error = x - half(*(const lanes *)(decoded + place), h);
                    floats norm = x * x, squared = error * error;
                    sum += x, squares += norm, bias += error, error_squares += squared;
                    error_sums[r] += squared, norm_sums[r] += norm;
                }
                kept[0] = sum, kept[1] = squares, kept[2] = bias, kept[3] = error_squares;
            }
        for (int r = 0; r < ROWS; r++) {
            errors[row + r] += sum_floats(error_sums[r]);
            norms[row + r] += sum_floats(norm_sums[r]);
        }
    }
}
