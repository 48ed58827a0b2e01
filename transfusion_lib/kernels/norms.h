// What every pass over a batch norm needs: sums of each channel, and what they make of its weights.
//
// Maps are channels-last, so that their positions are the rows of a matrix with c columns, a multiple of LANES. Sums are
// in float over few rows, and in double beyond. Every sum has one order, so the number of threads changes no bit, and
// neither does the processor while the compiler fuses no multiplication with an addition.

#pragma once

#include "vectors.h"

#include <cmath>
#include <cstdint>

namespace {

// The sums (2, c) of all parts from those of each, (parts, 2, c), in the first one's place.
inline void gather(int64_t parts, int64_t c, double *sums) {
    for (int64_t part = 1; part < parts; part++)
        for (int64_t at = 0; at < 2 * c; at++) sums[at] += sums[part * 2 * c + at];
}

// Running statistics, updated as PyTorch does: with the unbiased variance.
struct Tracked {
    float momentum, *mean, *var;
};

// Mean and biased variance of each channel, from sums of how far its values are from ``mean``, and of the squares.
inline void moments(int64_t c, double count, const double *sums, float *mean, float *var, Tracked tracked) {
    for (int64_t at = 0; at < c; at++) {
        const double from = sums[at] / count;
        mean[at] = float(mean[at] + from);
        var[at] = float(sums[c + at] / count - from * from);
        const float unbiased = float(var[at] * (count / (count - 1)));
        tracked.mean[at] = (1 - tracked.momentum) * tracked.mean[at] + tracked.momentum * mean[at];
        tracked.var[at] = (1 - tracked.momentum) * tracked.var[at] + tracked.momentum * unbiased;
    }
}

// What batch norm multiplies each channel by, and what it adds: two times c numbers.
inline void scale(int64_t c, const float *weight, const float *bias, const float *mean, const float *var, float eps,
                  float *line) {
    for (int64_t at = 0; at < c; at++) {
        line[at] = weight[at] / std::sqrt(var[at] + eps);
        line[c + at] = bias[at] - mean[at] * line[at];
    }
}

// The gradients of the weights from the sums of the gradients of the output, and of those times how far the values are
// from the mean; and the line, two times c numbers, by which the gradients of the values depend on them through the
// statistics.
inline void slopes(int64_t c, double count, const double *sums, const float *times, const float *mean,
                   const float *var, float eps, float *slope, float *by_weight, float *by_bias) {
    for (int64_t at = 0; at < c; at++) {
        const double inverse = 1 / std::sqrt(double(var[at]) + eps), share = times[at] / count;
        const double tilt = -share * inverse * inverse * sums[c + at];
        by_bias[at] = float(sums[at]);
        by_weight[at] = float(sums[c + at] * inverse);
        slope[at] = float(tilt);
        slope[c + at] = float(-share * sums[at] - tilt * mean[at]);
    }
}

}  // namespace
