// SIMD vectors, their elementary functions, tensors in memory and threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__SSE__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANE_BYTES = 64;
#elif defined(__AVX2__)
constexpr int LANE_BYTES = 32;
#else
constexpr int LANE_BYTES = 16;
#endif

typedef float Float __attribute__((vector_size(LANE_BYTES)));
typedef double Double __attribute__((vector_size(LANE_BYTES)));
typedef int32_t Int __attribute__((vector_size(LANE_BYTES)));
typedef uint32_t Unsigned __attribute__((vector_size(LANE_BYTES)));
typedef uint16_t Half __attribute__((vector_size(LANE_BYTES / 2)));

struct bfloat16 {
    uint16_t bits;
};

template <class Stored> struct Computed {  // how a stored type is computed with
    typedef float Real;
    typedef Float Vector;
};
template <> struct Computed<double> {
    typedef double Real;
    typedef Double Vector;
};
template <class Stored> using Real = typename Computed<Stored>::Real;
template <class Stored> using Vector = typename Computed<Stored>::Vector;
template <class Stored> constexpr int LANES = LANE_BYTES / sizeof(Real<Stored>);

constexpr int TOGETHER = 4;  // states whose recurrences are interleaved in registers

// ---- Vectors in memory ---------------------------------------------------------

template <class To, class From> inline To reinterpret(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

inline Float load(const float* p) {
    Float v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}
inline Double load(const double* p) {
    Double v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}
inline Float load(const bfloat16* p) {
    Half half;
    std::memcpy(&half, p, sizeof(half));
    return reinterpret<Float>(__builtin_convertvector(half, Unsigned) << 16);
}

inline void store(float* p, Float v) { std::memcpy(p, &v, sizeof(v)); }
inline void store(double* p, Double v) { std::memcpy(p, &v, sizeof(v)); }
inline void store(bfloat16* p, Float v) {
    Unsigned bits = reinterpret<Unsigned>(v);
    Unsigned rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to nearest even
    rounded = v == v ? rounded : bits >> 16 | 0x40;               // NaN stays NaN
    Half half = __builtin_convertvector(rounded, Half);
    std::memcpy(p, &half, sizeof(half));
}

// The first `count` channels at p, zeros behind them.
template <class Stored> inline Vector<Stored> load(const Stored* p, int64_t count) {
    if (count >= LANES<Stored>) return load(p);
    Stored padded[LANES<Stored>] = {};
    std::copy(p, p + count, padded);
    return load(padded);
}

template <class Stored>
inline void store(Stored* p, Vector<Stored> v, int64_t count) {
    if (count >= LANES<Stored>) return store(p, v);
    Stored padded[LANES<Stored>];
    store(padded, v);
    std::copy(padded, padded + count, p);
}

template <class V> struct Buffer {  // zeros, aligned
    V* data;
    explicit Buffer(int64_t count) {
        data = static_cast<V*>(operator new(count * sizeof(V), std::align_val_t(64)));
        clear(count);
    }
    ~Buffer() { operator delete(data, std::align_val_t(64)); }
    Buffer(const Buffer&) = delete;
    void clear(int64_t count) { std::memset((void*)data, 0, count * sizeof(V)); }
    V& operator[](int64_t index) const { return data[index]; }
};

// ---- Elementary functions ------------------------------------------------------

// 2^x for |x| < 1e15, relative error 2e-7. x = n + f with integer n (Cody and Waite
// 1980), to which the addition of 1.5 * 2^23 rounds, leaving it in the low bits;
// 2^f = 1 + f p(f) with p the minimax polynomial of the relative error on [-1/2, 1/2],
// found by linear programming: error 9.2e-8.
inline Float exp2(Float x) {
#if !defined(__AVX512F__)
    const Float lowest = Float{} - 126.0f, highest = Float{} + 127.0f;
    x = lowest > x ? lowest : x;  // in this order NaN stays NaN
    x = highest < x ? highest : x;
#endif
    const Float shifted = x + 12582912.0f, n = shifted - 12582912.0f, f = x - n;
    Float p = f * 1.326472032815218e-3f + 9.671512991189957e-3f;
    p = p * f + 5.550733953714371e-2f;
    p = p * f + 0.24022242426872253f;
    p = p * f + 0.6931470036506653f;
    p = p * f + 1.0f;
#if defined(__AVX512F__)
    return (Float)_mm512_scalef_ps((__m512)p, (__m512)n);  // p 2^n, saturating
#else
    return reinterpret<Float>(reinterpret<Int>(p) + (reinterpret<Int>(shifted) << 23));
#endif
}

// log(1 + e) for e in [0, 1] is 2 artanh(s), s = e / (2 + e); artanh(s) / s as a
// polynomial of s^2, minimax on [0, 1/9]: error 4.4e-9.
inline Float log1p(Float e) {
    const Float s = e / (e + 2.0f), q = s * s;
    Float p = q * 0.28008270263671875f + 0.2800253927707672f;
    p = p * q + 0.40021488070487976f;
    p = p * q + 0.666664183139801f;
    p = p * q + 2.0f;
    return s * p;
}

template <class Function> inline Double each(Double x, Function function) {
    for (int lane = 0; lane < LANES<double>; ++lane) x[lane] = function(x[lane]);
    return x;
}
inline Double exp2(Double x) {
    return each(x, [](double v) { return std::exp2(v); });
}
inline Double log1p(Double x) {
    return each(x, [](double v) { return std::log1p(v); });
}

constexpr double LOG2_E = 1.4426950408889634, LN_2 = 0.6931471805599453;

inline Float fading(Float x) { return exp2((x < 0 ? x : -x) * float(LOG2_E)); }
inline Double fading(Double x) { return exp2((x < 0 ? x : -x) * LOG2_E); }  // e^-|x|

template <class V> inline V sigmoid(V x, V faded) {
    return (x < 0 ? faded : V{} + 1) / (faded + 1);
}

template <class V> inline V softplus(V x, V faded) {
    return (x > 0 ? x : V{}) + log1p(faded);
}

// ---- Threads and tensors of the caller -------------------------------------------

// Calls work(i) for i in 0 .. count - 1, each by whichever thread is free.
template <class Work> void in_parallel(int64_t count, int64_t threads, Work work) {
    std::atomic<int64_t> next{0};
    auto run = [&] {
#if defined(__SSE__)
        // Decaying states would crawl through subnormal numbers, which x86 handles in
        // microcode: flush them to zero, in this thread and for now.
        const unsigned int mode = _mm_getcsr();
        _mm_setcsr(mode | 0x8040);
#endif
        for (int64_t i; (i = next++) < count;) work(i);
#if defined(__SSE__)
        _mm_setcsr(mode);
#endif
    };
    std::vector<std::thread> others;
    try {
        for (int64_t i = 1; i < std::min(threads, count); ++i) others.emplace_back(run);
    } catch (const std::system_error&) {
        // No more threads to be had: those that run do all of the work.
    }
    run();
    for (auto& other : others) other.join();
}

}  // namespace

struct Rows {  // a tensor [batch, time, features]: strides in elements, features dense
    void* data;
    int64_t batch_stride, time_stride;

    template <class Stored> Stored* at(int64_t batch, int64_t time) const {
        return (Stored*)data + batch * batch_stride + time * time_stride;
    }
};
