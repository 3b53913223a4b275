// Causal depthwise convolution with SiLU, row by row, forward and backward.

#pragma once

#include "kernel_vectors.h"

extern "C" struct Convolution {  // mirrored by cpp_engine
    int64_t batch, length, channels, taps, slices, threads;
    Rows x, out, grad_out, grad_x;
    void *weight, *bias, *grad_weight, *grad_bias;
};

namespace {

// out_t = silu(p_t), p_t = bias + sum_k weight_k x_(t - taps + 1 + k), row by row.
template <class Stored> struct ConvolutionUnit {
    typedef Real<Stored> R;
    typedef Vector<Stored> V;
    static constexpr int WIDTH = LANES<Stored>;

    const Convolution& conv;
    const int64_t slice, taps, blocks;
    Buffer<V> weight, bias, grad_weight, grad_bias;  // [block][tap], [block]
    Buffer<V> grad_p;                                // [block][time modulo taps]

    ConvolutionUnit(const Convolution& conv, int64_t slice)
        : conv(conv), slice(slice), taps(conv.taps),
          blocks((conv.channels + WIDTH - 1) / WIDTH), weight(blocks * taps),
          bias(blocks), grad_weight(blocks * taps), grad_bias(blocks),
          grad_p(blocks * taps) {
        for (int64_t block = 0; block < blocks; ++block) {
            bias[block] = load((R*)conv.bias + block * WIDTH, width(block));
            for (int64_t k = 0; k < taps; ++k)
                weight[block * taps + k] =
                    load(tap(conv.weight, block, k), width(block));
        }
    }

    int64_t width(int64_t block) const { return conv.channels - block * WIDTH; }
    int64_t first_item() const { return conv.batch * slice / conv.slices; }
    int64_t last_item() const { return conv.batch * (slice + 1) / conv.slices; }
    R* tap(void* weights, int64_t block, int64_t row) const {
        return (R*)weights + row * conv.channels + block * WIDTH;
    }
    V get(const Rows& rows, int64_t item, int64_t time, int64_t block) const {
        const Stored* row = rows.template at<Stored>(item, time);
        return load(row + block * WIDTH, width(block));
    }
    void put(const Rows& rows, int64_t item, int64_t time, int64_t block, V v) const {
        store(rows.template at<Stored>(item, time) + block * WIDTH, v, width(block));
    }

    V convolve(int64_t item, int64_t t, int64_t block) const {
        V p = bias[block];
        for (int64_t k = std::max(taps - 1 - t, int64_t(0)); k < taps; ++k)
            p += weight[block * taps + k] * get(conv.x, item, t - taps + 1 + k, block);
        return p;
    }

    void forward() {
        for (int64_t item = first_item(); item < last_item(); ++item)
            for (int64_t t = 0; t < conv.length; ++t)
                for (int64_t block = 0; block < blocks; ++block) {
                    const V p = convolve(item, t, block);
                    put(conv.out, item, t, block, p * sigmoid(p, fading(p)));
                }
    }

    void backward() {
        for (int64_t item = first_item(); item < last_item(); ++item) {
            for (int64_t t = 0; t < conv.length + taps - 1; ++t)
                for (int64_t block = 0; block < blocks; ++block) {
                    V* ring = &grad_p[block * taps];
                    ring[t % taps] = t < conv.length ? step_back(item, t, block) : V{};
                    if (t < taps - 1) continue;
                    V grad_x{};
                    for (int64_t k = 0; k < taps; ++k)
                        grad_x += weight[block * taps + k] * ring[(t - k) % taps];
                    put(conv.grad_x, item, t - taps + 1, block, grad_x);
                }
        }
        for (int64_t block = 0; block < blocks; ++block) {
            store((R*)conv.grad_bias + slice * conv.channels + block * WIDTH,
                  grad_bias[block], width(block));
            for (int64_t k = 0; k < taps; ++k)
                store(tap(conv.grad_weight, block, slice * taps + k),
                      grad_weight[block * taps + k], width(block));
        }
    }

    // Returns the gradient of p_t and adds it to those of weight and bias.
    V step_back(int64_t item, int64_t t, int64_t block) {
        const V p = convolve(item, t, block), s = sigmoid(p, fading(p));
        const V grad = get(conv.grad_out, item, t, block) * s * (p * (1 - s) + 1);
        grad_bias[block] += grad;
        for (int64_t k = std::max(taps - 1 - t, int64_t(0)); k < taps; ++k)
            grad_weight[block * taps + k] +=
                grad * get(conv.x, item, t - taps + 1 + k, block);
        return grad;
    }
};

template <class Stored> void convolve(const Convolution& conv) {
    in_parallel(conv.slices, conv.threads, [&](int64_t slice) {
        ConvolutionUnit<Stored>(conv, slice).forward();
    });
}

template <class Stored> void convolve_back(const Convolution& conv) {
    in_parallel(conv.slices, conv.threads, [&](int64_t slice) {
        ConvolutionUnit<Stored>(conv, slice).backward();
    });
}

}  // namespace

