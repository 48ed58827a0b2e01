// Batch norm, the sum with another map and the ReLU after it: twice over the maps forward, and twice backward.
//
// PyTorch's layers each go over the maps by themselves, and in bfloat16 each rounds. Here what they make of a value is
// rounded once, and the gradient through the ReLU is never kept, but where it is that of the other map.

#include "norms.h"

namespace {

constexpr int GROUP = 4;  // vectors of channels at a time: two lines of a processor's cache in bfloat16

struct Shape {
    int64_t rows, c, block;  // a block of rows is summed in float
    int64_t blocks() const { return (rows + block - 1) / block; }
    int64_t groups() const { return (c + GROUP * LANES - 1) / (GROUP * LANES); }
};

// A ReLU lets values between two limits through: 0 and infinity, or 6. NaN stays.
struct Limits {
    Floats low, high;
};
inline Ints outside(Floats values, Limits limits) { return (values <= limits.low) | (values >= limits.high); }
inline Floats clamp(Floats values, Limits limits) {
    const Floats above = (values >= limits.high) ? limits.high : values;
    return (values <= limits.low) ? limits.low : above;
}

// Two sums of each channel of one block of rows, of what ``terms`` gives for it, in a row of ``sums``, (blocks, 2, c).
template <int VECTORS, class Terms>
inline void sum_of_group(const Shape &shape, int64_t block, int64_t first, double *sums, Terms terms) {
    const int64_t begin = block * shape.block, end = begin + shape.block < shape.rows ? begin + shape.block : shape.rows;
    Floats one[VECTORS] = {}, other[VECTORS] = {};
    for (int64_t row = begin; row < end; row++)
        for (int each = 0; each < VECTORS; each++) {
            const int64_t c = first + each * LANES;
            terms(row * shape.c + c, c, one[each], other[each]);
        }
    for (int each = 0; each < VECTORS; each++)
        for (int lane = 0; lane < LANES; lane++) {
            double *to = sums + block * 2 * shape.c + first + each * LANES + lane;
            to[0] = one[each][lane];
            to[shape.c] = other[each][lane];
        }
}

// The sums (2, c) of all rows.
template <class Terms>
void sum(const Shape &shape, double *sums, Terms terms) {
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t block = 0; block < shape.blocks(); block++)
        for (int64_t group = 0; group < shape.groups(); group++) {
            int64_t c = group * GROUP * LANES;
            if (c + GROUP * LANES <= shape.c) {
                sum_of_group<GROUP>(shape, block, c, sums, terms);
                continue;
            }
            for (; c < shape.c; c += LANES) sum_of_group<1>(shape, block, c, sums, terms);
        }
    gather(shape.blocks(), shape.c, sums);
}

// The mean of each channel in the first block. From it all values are counted: squares of large numbers that hardly
// differ would lose the variance, and a single value may lie far from all others.
template <class Value>
void centre(const Shape &shape, const Value *x, float *means) {
    const int64_t rows = shape.rows < shape.block ? shape.rows : shape.block;
    for (int64_t c = 0; c < shape.c; c += LANES) {
        Floats sum{};
        for (int64_t row = 0; row < rows; row++) sum += load(x + row * shape.c + c);
        store(means + c, sum / float(rows));
    }
}

template <bool ADDED, class Value>
void forward(const Shape &shape, const Value *x, const Value *added, const float *weight, const float *bias, float eps,
             Limits limits, Tracked tracked, double *sums, float *line, Value *y, float *mean, float *var) {
    centre(shape, x, mean);
    sum(shape, sums, [=](int64_t at, int64_t c, Floats &sum, Floats &squares) {
        const Floats from = load(x + at) - load(mean + c);
        sum += from;
        squares += from * from;
    });
    moments(shape.c, double(shape.rows), sums, mean, var, tracked);
    scale(shape.c, weight, bias, mean, var, eps, line);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < shape.rows; row++)
        for (int64_t c = 0; c < shape.c; c += LANES) {
            const int64_t at = row * shape.c + c;
            Floats value = load(line + c) * load(x + at) + load(line + shape.c + c);
            if (ADDED) value += load(added + at);
            store(y + at, clamp(value, limits));
        }
}

// With another map ``known`` is the output, and ``by_added`` its gradient to come; without one neither is needed.
template <bool ADDED, class Value>
void backward(const Shape &shape, const Value *by_y, const Value *x, const Value *known, const float *weight,
              const float *bias, const float *mean, const float *var, float eps, Limits limits, double *sums,
              float *line, Value *by_added, Value *by_x, float *by_weight, float *by_bias) {
    scale(shape.c, weight, bias, mean, var, eps, line);
    const auto gradient = [=](int64_t at, int64_t c, Floats value) {
        const Floats y = ADDED ? load(known + at) : load(line + c) * value + load(line + shape.c + c);
        return outside(y, limits) ? Floats{} : load(by_y + at);
    };
    sum(shape, sums, [=](int64_t at, int64_t c, Floats &by_bias, Floats &by_weight) {
        const Floats value = load(x + at), through = gradient(at, c, value);
        by_bias += through;
        by_weight += through * (value - load(mean + c));
        if (ADDED) store(by_added + at, through);
    });
    float *slope = line + 2 * shape.c;
    slopes(shape.c, double(shape.rows), sums, line, mean, var, eps, slope, by_weight, by_bias);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < shape.rows; row++)
        for (int64_t c = 0; c < shape.c; c += LANES) {
            const int64_t at = row * shape.c + c;
            const Floats value = load(x + at), through = ADDED ? load(by_added + at) : gradient(at, c, value);
            store(by_x + at, load(line + c) * through + (load(slope + c) * value + load(slope + shape.c + c)));
        }
}

}  // namespace

#define FOR(NAME, VALUE)                                                                                              \
    extern "C" void forward_##NAME(const Shape *shape, const VALUE *x, const VALUE *added, const float *weight,       \
                                   const float *bias, float eps, float low, float high, float momentum,               \
                                   float *running_mean, float *running_var, double *sums, float *line, VALUE *y,      \
                                   float *mean, float *var) {                                                         \
        const Limits limits{Floats{} + low, Floats{} + high};                                                         \
        const Tracked tracked{momentum, running_mean, running_var};                                                   \
        if (added)                                                                                                    \
            forward<true>(*shape, x, added, weight, bias, eps, limits, tracked, sums, line, y, mean, var);            \
        else                                                                                                          \
            forward<false>(*shape, x, added, weight, bias, eps, limits, tracked, sums, line, y, mean, var);           \
    }                                                                                                                 \
    extern "C" void backward_##NAME(const Shape *shape, const VALUE *by_y, const VALUE *x, const VALUE *known,        \
                                    const float *weight, const float *bias, const float *mean, const float *var,      \
                                    float eps, float low, float high, double *sums, float *line, VALUE *by_added,     \
                                    VALUE *by_x, float *by_weight, float *by_bias) {                                  \
        const Limits limits{Floats{} + low, Floats{} + high};                                                         \
        if (known)                                                                                                    \
            backward<true>(*shape, by_y, x, known, weight, bias, mean, var, eps, limits, sums, line, by_added, by_x,  \
                           by_weight, by_bias);                                                                       \
        else                                                                                                          \
            backward<false>(*shape, by_y, x, known, weight, bias, mean, var, eps, limits, sums, line, by_added, by_x, \
                            by_weight, by_bias);                                                                      \
    }
FOR(float32, float)
FOR(bfloat16, BFloat16)
