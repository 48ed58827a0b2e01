// Batch norm, ReLU and max pooling in one pass over the maps forward and one backward.
//
// PyTorch's layers take one and more each, and round to bfloat16 between them. Batch norm multiplies a channel by one number and adds
// another, so the largest normalised value of a window is the largest value, normalised, or the smallest where the
// channel is multiplied by a negative number: only what is pooled has to be normalised.
//
// Maps are channels-last, (n, height, width, c), of float or bfloat16; sums are in float along a row of one map.

#include "norms.h"

namespace {

constexpr int64_t KERNEL = 3, STRIDE = 2, PADDING = 1;

inline Floats relu(Floats values) { return (values <= 0) ? Floats{} : values; }  // NaN stays

struct Shape {
    int64_t n, height, width, c, out_height, out_width;
    int64_t of_map() const { return height * width * c; }
    int64_t of_pooled() const { return out_height * out_width * c; }
    double count() const { return double(n) * height * width; }
};

struct Range {
    int64_t first, end;
};

// The positions that a window of the pooling sees in a map of this length.
inline Range seen(int64_t window, int64_t length) {
    const int64_t first = window * STRIDE - PADDING, end = first + KERNEL;
    return {first < 0 ? 0 : first, end > length ? length : end};
}

// The windows that see a position.
inline Range seeing(int64_t position, int64_t windows) {
    const int64_t last = (position + PADDING) / STRIDE;
    return {(position + PADDING + STRIDE - KERNEL) / STRIDE, last < windows ? last + 1 : windows};
}

// Where in its window a position lies, in reading order.
inline int32_t place(int64_t row, int64_t column, int64_t out_row, int64_t out_column) {
    return int32_t((row - out_row * STRIDE + PADDING) * KERNEL + column - out_column * STRIDE + PADDING);
}

// The mean of each channel of one map. From it all values are counted: squares of large numbers that hardly differ
// would lose the variance, and a single value may lie far from all others.
template <class Value>
void centre(const Shape &shape, const Value *map, float *means) {
    for (int64_t c = 0; c < shape.c; c += LANES) {
        double sums[LANES] = {};
        for (int64_t row = 0; row < shape.height; row++) {
            const Value *value = map + row * shape.width * shape.c + c;
            Floats sum{};
            for (int64_t column = 0; column < shape.width; column++, value += shape.c) sum += load(value);
            add(sums, sum);
        }
        for (int lane = 0; lane < LANES; lane++) means[c + lane] = float(sums[lane] / (shape.height * shape.width));
    }
}

// Of each channel of one map: how far its values are from an origin, and the squares of that.
template <class Value>
void sum_of_map(const Shape &shape, const Value *map, const float *origins, double *sums) {
    for (int64_t at = 0; at < 2 * shape.c; at++) sums[at] = 0;
    for (int64_t row = 0; row < shape.height; row++)
        for (int64_t c = 0; c < shape.c; c += LANES) {
            const Value *value = map + row * shape.width * shape.c + c;
            const Floats origin = load(origins + c);
            Floats sum{}, squares{};
            for (int64_t column = 0; column < shape.width; column++, value += shape.c) {
                const Floats from = load(value) - origin;
                sum += from;
                squares += from * from;
            }
            add(sums + c, sum);
            add(sums + shape.c + c, squares);
        }
}

// Of LANES channels of one window: the value that is largest once normalised, and its place; the first of equal ones, as
// in PyTorch.
template <class Value>
inline void pool(const Value *map, int64_t line, int64_t c, Range rows, Range columns, int64_t out_row,
                 int64_t out_column, Floats sign, Value *pooled, uint8_t *at) {
    Floats largest = Floats{} - INFINITY;
    Ints where{};
    for (int64_t row = rows.first; row < rows.end; row++)
        for (int64_t column = columns.first; column < columns.end; column++) {
            const Floats value = load(map + row * line + column * c) * sign;
            const Ints larger = value > largest;
            largest = larger ? value : largest;
            where = larger ? Ints{} + place(row, column, out_row, out_column) : where;
        }
    store(pooled, largest * sign);
    store(at, where);
}

// All windows of one map.
template <class Value>
void pool_map(const Shape &shape, const Value *map, const float *weight, Value *pooled, uint8_t *places) {
    const int64_t line = shape.width * shape.c;
    for (int64_t out_row = 0; out_row < shape.out_height; out_row++) {
        const Range rows = seen(out_row, shape.height);
        for (int64_t c = 0; c < shape.c; c += LANES) {
            const Floats sign = (load(weight + c) < 0) ? Floats{} - 1 : Floats{} + 1;
            int64_t to = out_row * shape.out_width * shape.c + c;
            for (int64_t out_column = 0; out_column < shape.out_width; out_column++, to += shape.c) {
                const Range columns = seen(out_column, shape.width);
                const bool whole = rows.end - rows.first == KERNEL && columns.end - columns.first == KERNEL;
                // Of a whole window the compiler knows the size, and unrolls it.
                if (whole)
                    pool(map + c, line, shape.c, {rows.first, rows.first + KERNEL},
                         {columns.first, columns.first + KERNEL}, out_row, out_column, sign, pooled + to, places + to);
                else
                    pool(map + c, line, shape.c, rows, columns, out_row, out_column, sign, pooled + to, places + to);
            }
        }
    }
}

template <class Value>
void forward(const Shape &shape, const Value *x, const float *weight, const float *bias, float eps, Tracked tracked,
             double *sums, float *line, Value *pooled, uint8_t *places, Value *y, float *mean, float *var) {
    centre(shape, x, mean);
#pragma omp parallel for schedule(static)
    for (int64_t map = 0; map < shape.n; map++) {
        const Value *values = x + map * shape.of_map();
        sum_of_map(shape, values, mean, sums + map * 2 * shape.c);
        pool_map(shape, values, weight, pooled + map * shape.of_pooled(), places + map * shape.of_pooled());
    }
    gather(shape.n, shape.c, sums);
    moments(shape.c, shape.count(), sums, mean, var, tracked);
    scale(shape.c, weight, bias, mean, var, eps, line);
#pragma omp parallel for schedule(static)
    for (int64_t position = 0; position < shape.n * shape.out_height * shape.out_width; position++)
        for (int64_t c = 0; c < shape.c; c += LANES) {
            const int64_t at = position * shape.c + c;
            store(y + at, relu(load(line + c) * load(pooled + at) + load(line + shape.c + c)));
        }
}

// Of one map: the gradients of what was pooled, as batch norm scales them, and the sums of the gradients of the biases
// and of the weights, the latter without the standard deviation.
template <class Value>
void unpooled(const Shape &shape, const Value *by_y, const Value *pooled, const float *mean, const float *line,
              float *scaled, double *sums) {
    for (int64_t at = 0; at < 2 * shape.c; at++) sums[at] = 0;
    for (int64_t row = 0; row < shape.out_height; row++)
        for (int64_t c = 0; c < shape.c; c += LANES) {
            const Floats times = load(line + c), plus = load(line + shape.c + c), centre = load(mean + c);
            Floats by_bias{}, by_weight{};
            int64_t at = row * shape.out_width * shape.c + c;
            for (int64_t column = 0; column < shape.out_width; column++, at += shape.c) {
                const Floats value = load(pooled + at);
                const Floats gradient = (times * value + plus <= 0) ? Floats{} : load(by_y + at);
                store(scaled + at, times * gradient);
                by_bias += gradient;
                by_weight += gradient * (value - centre);
            }
            add(sums + c, by_bias);
            add(sums + shape.c + c, by_weight);
        }
}

// Of one row of a map: what each position gets from the windows whose largest value it is, and from the statistics.
// ``SEEING`` rows of windows see it, from ``first`` on. An even column lies in the middle of one window, an odd one at
// the end of that and at the beginning of the next.
template <int SEEING, class Value>
void spread_row(const Shape &shape, const Value *map, const float *scaled, const uint8_t *places, const float *slope,
                const float *level, Value *by_map, int64_t row, int64_t first) {
    for (int64_t c = 0; c < shape.c; c += LANES) {
        const Floats tilt = load(slope + c), shift = load(level + c);
        Floats gradients[SEEING];
        Ints at[SEEING];
        int64_t windows[SEEING];
        for (int each = 0; each < SEEING; each++) {
            windows[each] = (first + each) * shape.out_width * shape.c + c;
            gradients[each] = load(scaled + windows[each]);
            at[each] = load(places + windows[each]);
        }
        int64_t here = row * shape.width * shape.c + c;
        for (int64_t column = 0; column < shape.width; column += STRIDE, here += STRIDE * shape.c) {
            Floats even = tilt * load(map + here) + shift;
            for (int each = 0; each < SEEING; each++)
                even += (at[each] == place(row, 0, first + each, 0)) ? gradients[each] : Floats{};
            store(by_map + here, even);
            if (column + 1 == shape.width) break;
            Floats odd = tilt * load(map + here + shape.c) + shift;
            for (int each = 0; each < SEEING; each++) {
                odd += (at[each] == place(row, 1, first + each, 0)) ? gradients[each] : Floats{};
                if (column + STRIDE >= shape.width) continue;
                windows[each] += shape.c;
                gradients[each] = load(scaled + windows[each]);
                at[each] = load(places + windows[each]);
                odd += (at[each] == place(row, 1, first + each, 1)) ? gradients[each] : Floats{};
            }
            store(by_map + here + shape.c, odd);
        }
    }
}

template <class Value>
void spread(const Shape &shape, const Value *map, const float *scaled, const uint8_t *places, const float *slope,
            const float *level, Value *by_map) {
    for (int64_t row = 0; row < shape.height; row++) {
        const Range rows = seeing(row, shape.out_height);
        if (rows.end - rows.first == 1)
            spread_row<1>(shape, map, scaled, places, slope, level, by_map, row, rows.first);
        else
            spread_row<2>(shape, map, scaled, places, slope, level, by_map, row, rows.first);
    }
}

template <class Value>
void backward(const Shape &shape, const Value *by_y, const Value *x, const Value *pooled, const uint8_t *places,
              const float *weight, const float *bias, const float *mean, const float *var, float eps, double *sums,
              float *line, float *scaled, Value *by_x, float *by_weight, float *by_bias) {
    scale(shape.c, weight, bias, mean, var, eps, line);
#pragma omp parallel for schedule(static)
    for (int64_t map = 0; map < shape.n; map++) {
        const int64_t at = map * shape.of_pooled();
        unpooled(shape, by_y + at, pooled + at, mean, line, scaled + at, sums + map * 2 * shape.c);
    }
    gather(shape.n, shape.c, sums);
    float *slope = line + 2 * shape.c, *level = slope + shape.c;
    slopes(shape.c, shape.count(), sums, line, mean, var, eps, slope, by_weight, by_bias);
#pragma omp parallel for schedule(static)
    for (int64_t map = 0; map < shape.n; map++) {
        const int64_t at = map * shape.of_map(), from = map * shape.of_pooled();
        spread(shape, x + at, scaled + from, places + from, slope, level, by_x + at);
    }
}

}  // namespace

#define FOR(NAME, VALUE)                                                                                              \
    extern "C" void forward_##NAME(const Shape *shape, const VALUE *x, const float *weight, const float *bias,        \
                                   float eps, float momentum, float *running_mean, float *running_var, double *sums,  \
                                   float *line, VALUE *pooled, uint8_t *places, VALUE *y, float *mean, float *var) {  \
        forward(*shape, x, weight, bias, eps, {momentum, running_mean, running_var}, sums, line, pooled, places, y,   \
                mean, var);                                                                                           \
    }                                                                                                                 \
    extern "C" void backward_##NAME(const Shape *shape, const VALUE *by_y, const VALUE *x, const VALUE *pooled,       \
                                    const uint8_t *places, const float *weight, const float *bias, const float *mean, \
                                    const float *var, float eps, double *sums, float *line, float *scaled,            \
                                    VALUE *by_x, float *by_weight, float *by_bias) {                                  \
        backward(*shape, by_y, x, pooled, places, weight, bias, mean, var, eps, sums, line, scaled, by_x, by_weight,  \
                 by_bias);                                                                                            \
    }
FOR(float32, float)
FOR(bfloat16, BFloat16)
