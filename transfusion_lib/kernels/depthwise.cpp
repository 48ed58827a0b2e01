// Gradients of a depthwise convolution, in which each channel has a kernel of its own.
//
// Maps are channels-last, (n, height, width, c) with c a multiple of LANES, float or bfloat16; weights and all sums are
// float, (EDGE, EDGE, c). Sixteen channels of a map at a time lie in a room of their own, as floats with the padding
// around them, so that no output asks where the border is. Every sum has one order: threads change no bit.

#include "vectors.h"

#include <cstdint>

namespace {

struct Shape {
    int64_t n, height, width, c, out_height, out_width, stride, above, beside, padded_height, padded_width, threads;
    int64_t of_map() const { return height * width * c; }
    int64_t of_out() const { return out_height * out_width * c; }
    int64_t of_padded() const { return padded_height * padded_width * LANES; }
    int64_t of_room() const { return 2 * of_padded() + out_height * out_width * LANES; }
};

// Of LANES channels of one map. ``room`` holds the padded map, whose border is 0, its gradient, and that of the output.
template <int EDGE, class Value>
void lanes(const Shape &shape, const Value *by_out, const Value *map, const float *weight, float *room,
           Value *by_map, float *by_weight) {
    float *padded = room, *by_padded = padded + shape.of_padded(), *gradients = by_padded + shape.of_padded();
    const int64_t line = shape.padded_width * LANES, first = shape.above * line + shape.beside * LANES;
    for (int64_t row = 0; row < shape.height; row++)
        for (int64_t column = 0; column < shape.width; column++)
            store(padded + first + row * line + column * LANES, load(map + (row * shape.width + column) * shape.c));
    for (int64_t at = 0; at < shape.of_padded(); at += LANES) store(by_padded + at, Floats{});
    for (int64_t at = 0; at < shape.out_height * shape.out_width; at++)
        store(gradients + at * LANES, load(by_out + at * shape.c));
    for (int down = 0; down < EDGE; down++) {
        Floats sums[EDGE] = {}, weights[EDGE];
        for (int right = 0; right < EDGE; right++) weights[right] = load(weight + (down * EDGE + right) * shape.c);
        for (int64_t row = 0; row < shape.out_height; row++) {
            const float *gradient = gradients + row * shape.out_width * LANES;
            const float *seen = padded + (row * shape.stride + down) * line;
            float *by_seen = by_padded + (row * shape.stride + down) * line;
            for (int64_t column = 0; column < shape.out_width; column++) {
                const Floats here = load(gradient + column * LANES);
                const int64_t left = column * shape.stride * LANES;
                for (int right = 0; right < EDGE; right++) {
                    const int64_t at = left + right * LANES;
                    sums[right] += here * load(seen + at);
                    store(by_seen + at, load(by_seen + at) + here * weights[right]);
                }
            }
        }
        for (int right = 0; right < EDGE; right++) store(by_weight + (down * EDGE + right) * shape.c, sums[right]);
    }
    for (int64_t row = 0; row < shape.height; row++)
        for (int64_t column = 0; column < shape.width; column++)
            store(by_map + (row * shape.width + column) * shape.c,
                  load(by_padded + first + row * line + column * LANES));
}

template <int EDGE, class Value>
void backward(const Shape &shape, const Value *by_out, const Value *x, const float *weight, float *rooms, float *sums,
              Value *by_x) {
    const int64_t of_kernel = EDGE * EDGE * shape.c;
#pragma omp parallel for schedule(static)
    for (int64_t thread = 0; thread < shape.threads; thread++) {
        float *room = rooms + thread * shape.of_room();
        for (int64_t at = 0; at < shape.of_padded(); at += LANES) store(room + at, Floats{});
        const int64_t end = shape.n * (thread + 1) / shape.threads;
        for (int64_t map = shape.n * thread / shape.threads; map < end; map++)
            for (int64_t c = 0; c < shape.c; c += LANES)
                lanes<EDGE>(shape, by_out + map * shape.of_out() + c, x + map * shape.of_map() + c, weight + c, room,
                            by_x + map * shape.of_map() + c, sums + map * of_kernel + c);
    }
    for (int64_t map = 1; map < shape.n; map++)
        for (int64_t at = 0; at < of_kernel; at += LANES)
            store(sums + at, load(sums + at) + load(sums + map * of_kernel + at));
}

}  // namespace

#define FOR(NAME, EDGE, VALUE)                                                                                        \
    extern "C" void backward_##EDGE##_##NAME(const Shape *shape, const VALUE *by_out, const VALUE *x,                 \
                                             const float *weight, float *rooms, float *sums, VALUE *by_x) {           \
        backward<EDGE>(*shape, by_out, x, weight, rooms, sums, by_x);                                                 \
    }
FOR(float32, 3, float)
FOR(float32, 5, float)
FOR(bfloat16, 3, BFloat16)
FOR(bfloat16, 5, BFloat16)
