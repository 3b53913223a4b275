// Selective scan on the CPU, forward and backward, and the library's C interface.
//
// Tensors are [batch, time, channels] with adjacent channels; a SIMD vector holds
// neighbouring channels. Work is cut into units, a slice of the batch by a group of
// channels. Which thread takes which unit changes no bit of the result: every sum has
// its fixed order within a unit, and the caller adds the units' sums in order.
//
// Equations: Gu and Dao 2023, "Mamba", arXiv 2312.00752, section 3. With time step
// d = softplus(delta + bias), decay a = exp(d A), drive x = d u:
//     h_t = a_t h_{t-1} + x_t B_t,   y_t = <C_t, h_t> + D u_t,   out_t = y_t silu(z_t)

#include "kernel_convolution.h"
#include "kernel_vectors.h"

extern "C" struct Scan {  // mirrored by cpp_engine
    int64_t batch, length, channels, states, chunk, group, slices, softplus, threads;
    Rows u, delta, z, B, C, out, grad_out, grad_u, grad_delta, grad_z;
    void *A, *D, *bias, *starts, *grad_A, *grad_B, *grad_C, *grad_D, *grad_bias;
};

namespace {

// What a unit of work keeps between passes over one chunk: vectors [block][time], where
// a block is one vector's channels.
template <class Stored> struct Unit {
    typedef Real<Stored> R;
    typedef Vector<Stored> V;
    static constexpr int WIDTH = LANES<Stored>;

    const Scan& scan;
    int64_t first_channel, channels, blocks, states;  // states: rounded up, for loops
    int64_t first_item, last_item;
    Buffer<V> A, D, bias, state, step, drive, y;
    Buffer<R> B, C;

    Unit(const Scan& scan, int64_t slice, int64_t group)
        : scan(scan),
          first_channel(group * scan.group),
          channels(std::min(scan.group, scan.channels - first_channel)),
          blocks((channels + WIDTH - 1) / WIDTH),
          states((scan.states + TOGETHER - 1) / TOGETHER * TOGETHER),
          first_item(scan.batch * slice / scan.slices),
          last_item(scan.batch * (slice + 1) / scan.slices),
          A(blocks * states), D(blocks), bias(blocks), state(blocks * states),
          step(blocks * scan.chunk), drive(blocks * scan.chunk), y(blocks * scan.chunk),
          B(scan.chunk * states), C(scan.chunk * states) {
        for (int64_t block = 0; block < blocks; ++block) {
            for (int64_t n = 0; n < scan.states; ++n)
                A[block * states + n] = parameter(scan.A, block, n) * R(LOG2_E);
            if (scan.D) D[block] = parameter(scan.D, block);
            if (scan.bias) bias[block] = parameter(scan.bias, block);
        }
    }

    int64_t channel(int64_t block) const { return first_channel + block * WIDTH; }
    int64_t width(int64_t block) const { return channels - block * WIDTH; }
    int64_t steps(int64_t start) const {
        return std::min(scan.chunk, scan.length - start);
    }

    // Of a parameter's row [channels].
    V parameter(void* rows, int64_t block, int64_t row = 0) const {
        const R* p = (const R*)rows + row * scan.channels + channel(block);
        return load(p, width(block));
    }
    void set_parameter(void* rows, int64_t block, int64_t row, V value) const {
        R* p = (R*)rows + row * scan.channels + channel(block);
        store(p, value, width(block));
    }

    V get(const Rows& rows, int64_t item, int64_t time, int64_t block) const {
        const Stored* row = rows.template at<Stored>(item, time);
        return load(row + channel(block), width(block));
    }
    void put(const Rows& rows, int64_t item, int64_t time, int64_t block, V v) const {
        Stored* row = rows.template at<Stored>(item, time);
        store(row + channel(block), v, width(block));
    }

    int64_t chunks() const { return (scan.length + scan.chunk - 1) / scan.chunk; }

    // Row of the states before a chunk in scan.starts, [item][chunk][states][channels].
    int64_t starts_row(int64_t item, int64_t start) const {
        return (item * chunks() + start / scan.chunk) * scan.states;
    }

    void read_matrices(int64_t item, int64_t start) {
        for (int64_t t = 0; t < steps(start); ++t) {
            const Stored* b = scan.B.template at<Stored>(item, start + t);
            const Stored* c = scan.C.template at<Stored>(item, start + t);
            for (int64_t n = 0; n < scan.states; n += WIDTH) {
                const int64_t count = scan.states - n;
                store(&B[t * states + n], load(b + n, count), count);
                store(&C[t * states + n], load(c + n, count), count);
            }
        }
    }
};

template <class Stored> struct ForwardUnit : Unit<Stored> {
    typedef Unit<Stored> U;
    typedef Vector<Stored> V;
    using U::scan, U::blocks, U::states, U::A, U::state, U::step, U::drive, U::y;
    using U::U;

    void run() {
        for (int64_t item = U::first_item; item < U::last_item; ++item) {
            state.clear(blocks * states);
            for (int64_t start = 0; start < scan.length; start += scan.chunk) {
                if (scan.starts) keep_states(item, start);
                read(item, start);
                U::read_matrices(item, start);
                for (int64_t block = 0; block < blocks; ++block)
                    for (int64_t n = 0; n < states; n += TOGETHER)
                        recur(block, n, U::steps(start));
                write(item, start);
            }
        }
    }

    void keep_states(int64_t item, int64_t start) {
        const int64_t row = U::starts_row(item, start);
        for (int64_t n = 0; n < scan.states; ++n)
            for (int64_t block = 0; block < blocks; ++block)
                U::set_parameter(scan.starts, block, row + n,
                                 state[block * states + n]);
    }

    void read(int64_t item, int64_t start) {
        for (int64_t t = 0; t < U::steps(start); ++t)
            for (int64_t block = 0; block < blocks; ++block) {
                const int64_t at = block * scan.chunk + t;
                const V u = U::get(scan.u, item, start + t, block);
                V d = U::get(scan.delta, item, start + t, block) + U::bias[block];
                if (scan.softplus) d = softplus(d, fading(d));
                step[at] = d;
                drive[at] = d * u;
                y[at] = U::D[block] * u;
            }
    }

    void recur(int64_t block, int64_t n, int64_t steps) {
        V h[TOGETHER], a[TOGETHER];
        for (int j = 0; j < TOGETHER; ++j) {
            h[j] = state[block * states + n + j];
            a[j] = A[block * states + n + j];
        }
        for (int64_t t = 0; t < steps; ++t) {
            const auto *b = &U::B[t * states + n], *c = &U::C[t * states + n];
            const int64_t at = block * scan.chunk + t;
            const V d = step[at], x = drive[at];
            V sum = y[at];
            for (int j = 0; j < TOGETHER; ++j) {
                h[j] = exp2(d * a[j]) * h[j] + x * b[j];
                sum += h[j] * c[j];
            }
            y[at] = sum;
        }
        for (int j = 0; j < TOGETHER; ++j) state[block * states + n + j] = h[j];
    }

    void write(int64_t item, int64_t start) {
        for (int64_t t = 0; t < U::steps(start); ++t)
            for (int64_t block = 0; block < blocks; ++block) {
                V value = y[block * scan.chunk + t];
                if (scan.z.data) {
                    const V z = U::get(scan.z, item, start + t, block);
                    value *= z * sigmoid(z, fading(z));
                }
                U::put(scan.out, item, start + t, block, value);
            }
    }
};

template <class Stored> struct BackwardUnit : Unit<Stored> {
    typedef Unit<Stored> U;
    typedef Real<Stored> R;
    typedef Vector<Stored> V;
    using U::scan, U::blocks, U::states, U::A, U::state, U::step, U::drive, U::y;
    const int64_t slice, group;
    Buffer<V> grad_state, grad_A, grad_D, grad_bias;
    Buffer<V> slope, gate, grad_y, grad_x, grad_step;  // [block][time]
    Buffer<V> decays, history;                         // [time][TOGETHER]
    Buffer<V> grad_B, grad_C;                          // [time][states], lanes apart

    BackwardUnit(const Scan& scan, int64_t slice, int64_t group)
        : U(scan, slice, group), slice(slice), group(group),
          grad_state(blocks * states), grad_A(blocks * states), grad_D(blocks),
          grad_bias(blocks),
          slope(blocks * scan.chunk), gate(blocks * scan.chunk),
          grad_y(blocks * scan.chunk), grad_x(blocks * scan.chunk),
          grad_step(blocks * scan.chunk), decays(scan.chunk * TOGETHER),
          history((scan.chunk + 1) * TOGETHER), grad_B(scan.chunk * states),
          grad_C(scan.chunk * states) {}

    void run() {
        const int64_t last = (U::chunks() - 1) * scan.chunk;
        for (int64_t item = U::first_item; item < U::last_item; ++item) {
            grad_state.clear(blocks * states);
            for (int64_t start = last; start >= 0; start -= scan.chunk) {
                read(item, start);
                read_states(item, start);
                U::read_matrices(item, start);
                for (int64_t block = 0; block < blocks; ++block)
                    for (int64_t n = 0; n < states; n += TOGETHER) {
                        recur(block, n, U::steps(start));
                        recur_back(block, n, U::steps(start));
                    }
                write(item, start);
                write_matrices(item, start);
            }
        }
        for (int64_t block = 0; block < blocks; ++block) {
            for (int64_t n = 0; n < scan.states; ++n)
                U::set_parameter(scan.grad_A, block, slice * scan.states + n,
                                 grad_A[block * states + n]);
            if (scan.D) U::set_parameter(scan.grad_D, block, slice, grad_D[block]);
            if (scan.bias)
                U::set_parameter(scan.grad_bias, block, slice, grad_bias[block]);
        }
    }

    void read(int64_t item, int64_t start) {
        for (int64_t t = 0; t < U::steps(start); ++t)
            for (int64_t block = 0; block < blocks; ++block) {
                const int64_t at = block * scan.chunk + t;
                const V u = U::get(scan.u, item, start + t, block);
                V d = U::get(scan.delta, item, start + t, block) + U::bias[block];
                if (scan.softplus) {
                    const V faded = fading(d);
                    slope[at] = sigmoid(d, faded);
                    d = softplus(d, faded);
                }
                step[at] = d;
                drive[at] = d * u;
                y[at] = U::D[block] * u;
                grad_x[at] = grad_step[at] = V{};
                V grad = U::get(scan.grad_out, item, start + t, block);
                if (scan.z.data) {
                    const V z = U::get(scan.z, item, start + t, block);
                    gate[at] = sigmoid(z, fading(z));
                    grad *= z * gate[at];
                }
                grad_y[at] = grad;
            }
    }

    void read_states(int64_t item, int64_t start) {
        const int64_t row = U::starts_row(item, start);
        for (int64_t n = 0; n < scan.states; ++n)
            for (int64_t block = 0; block < blocks; ++block)
                state[block * states + n] = U::parameter(scan.starts, block, row + n);
    }

    // Computes the states of the chunk again, into `history` and `decays`.
    void recur(int64_t block, int64_t n, int64_t steps) {
        V h[TOGETHER], a[TOGETHER];
        for (int j = 0; j < TOGETHER; ++j) {
            h[j] = history[j] = state[block * states + n + j];
            a[j] = A[block * states + n + j];
        }
        for (int64_t t = 0; t < steps; ++t) {
            const auto *b = &U::B[t * states + n], *c = &U::C[t * states + n];
            const int64_t at = block * scan.chunk + t;
            const V d = step[at], x = drive[at];
            V sum = y[at];
            for (int j = 0; j < TOGETHER; ++j) {
                const V decay = exp2(d * a[j]);
                h[j] = decay * h[j] + x * b[j];
                sum += h[j] * c[j];
                decays[t * TOGETHER + j] = decay;
                history[(t + 1) * TOGETHER + j] = h[j];
            }
            y[at] = sum;
        }
    }

    void recur_back(int64_t block, int64_t n, int64_t steps) {
        V grad_h[TOGETHER], a[TOGETHER], sum_A[TOGETHER], h[TOGETHER];
        for (int j = 0; j < TOGETHER; ++j) {
            grad_h[j] = grad_state[block * states + n + j];
            a[j] = A[block * states + n + j];
            sum_A[j] = grad_A[block * states + n + j];
            h[j] = history[steps * TOGETHER + j];
        }
        for (int64_t t = steps - 1; t >= 0; --t) {
            const auto *b = &U::B[t * states + n], *c = &U::C[t * states + n];
            const int64_t at = block * scan.chunk + t;
            const V d = step[at], x = drive[at], gy = grad_y[at];
            V gx = grad_x[at], gd = grad_step[at];
            for (int j = 0; j < TOGETHER; ++j) {
                grad_C[t * states + n + j] += gy * h[j];
                const V gh = grad_h[j] + gy * c[j];
                grad_B[t * states + n + j] += gh * x;
                gx += gh * b[j];
                grad_h[j] = gh * decays[t * TOGETHER + j];
                h[j] = history[t * TOGETHER + j];
                const V gh_a = grad_h[j] * h[j];  // gradient of the decay's exponent
                gd += gh_a * a[j];
                sum_A[j] += gh_a * d;
            }
            grad_x[at] = gx;
            grad_step[at] = gd;
        }
        for (int j = 0; j < TOGETHER; ++j) {
            grad_state[block * states + n + j] = grad_h[j];
            grad_A[block * states + n + j] = sum_A[j];
        }
    }

    void write(int64_t item, int64_t start) {
        for (int64_t t = 0; t < U::steps(start); ++t)
            for (int64_t block = 0; block < blocks; ++block) {
                const int64_t at = block * scan.chunk + t;
                const V u = U::get(scan.u, item, start + t, block);
                const V gx = grad_x[at], gy = grad_y[at];
                V gd = gx * u + grad_step[at] * R(LN_2);  // A holds A / ln 2
                if (scan.softplus) gd *= slope[at];
                U::put(scan.grad_u, item, start + t, block,
                       gx * step[at] + gy * U::D[block]);
                U::put(scan.grad_delta, item, start + t, block, gd);
                grad_D[block] += gy * u;
                grad_bias[block] += gd;
                if (scan.z.data) {
                    const V z = U::get(scan.z, item, start + t, block);
                    const V grad = U::get(scan.grad_out, item, start + t, block);
                    const V g = gate[at];
                    U::put(scan.grad_z, item, start + t, block,
                           grad * y[at] * g * (z * (1 - g) + 1));
                }
            }
    }

    // Sums the gradients of B and C over the lanes, [group][item][time][states].
    void write_matrices(int64_t item, int64_t start) {
        const int64_t row = (group * scan.batch + item) * scan.length + start;
        for (int64_t t = 0; t < U::steps(start); ++t)
            for (int64_t n = 0; n < scan.states; ++n) {
                const int64_t to = (row + t) * scan.states + n;
                ((R*)scan.grad_B)[to] = sum_lanes(grad_B[t * states + n]);
                ((R*)scan.grad_C)[to] = sum_lanes(grad_C[t * states + n]);
            }
        grad_B.clear(scan.chunk * states);
        grad_C.clear(scan.chunk * states);
    }

    static R sum_lanes(V v) {
        R lanes[U::WIDTH];
        store(lanes, v);
#pragma GCC unroll 8
        for (int width = U::WIDTH / 2; width; width /= 2)
            for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
        return lanes[0];
    }
};

template <class Unit> void run_units(const Scan& scan) {
    const int64_t groups = (scan.channels + scan.group - 1) / scan.group;
    in_parallel(scan.slices * groups, scan.threads, [&](int64_t i) {
        Unit(scan, i / groups, i % groups).run();
    });
}

}  // namespace

// ---- Interface -----------------------------------------------------------------

#define EXPORT(Stored, name)                                                          \
    void scan_##name(const Scan& s) { run_units<ForwardUnit<Stored>>(s); }            \
    void scan_backward_##name(const Scan& s) { run_units<BackwardUnit<Stored>>(s); }  \
    void convolution_##name(const Convolution& c) { convolve<Stored>(c); }            \
    void convolution_backward_##name(const Convolution& c) { convolve_back<Stored>(c); }

extern "C" {
EXPORT(float, float32)
EXPORT(double, float64)
EXPORT(bfloat16, bfloat16)

// Asks that fresh memory come in huge pages: faults of 4 KiB are a quarter of the time.
void prefer_huge_pages(void* data, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    constexpr uintptr_t PAGE = 1 << 21;
    const uintptr_t first = ((uintptr_t)data + PAGE - 1) / PAGE * PAGE;
    const uintptr_t last = ((uintptr_t)data + bytes) / PAGE * PAGE;
    if (first < last) madvise((void*)first, last - first, MADV_HUGEPAGE);
#endif
}
}
