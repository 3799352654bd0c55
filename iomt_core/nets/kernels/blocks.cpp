// Building blocks of G networks, forward and backward, a few rows at a time so that they stay in cache; see __init__.py.
//
// A chunk is a few rows of one network, one row per SIMD lane: an array of vectors, feature by feature, so that sums over
// features, softmax and normalisation need no shuffles. Results do not depend on the number of threads: all sums of a network
// are computed by one thread, chunk after chunk.
//
// All tensors are contiguous float32, weights (G, inputs, outputs) and biases (G, outputs). Each network serves `slices`
// consecutive slices of a tensor's first axis; that axis is called G below.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <utility>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
constexpr int REGISTERS = 32;
#elif defined(__AVX__)
constexpr int LANES = 8;
constexpr int REGISTERS = 16;
#else
constexpr int LANES = 4;
constexpr int REGISTERS = 32;
#endif
constexpr int MOST = 4;   // vectors per feature in a chunk, at most
constexpr int SIDE = 4;   // of the squares in which gradients of weights are summed
constexpr int HEADS = 4;  // Table III
constexpr int MOST_TOKENS = 64;
constexpr float EPSILON = 1e-5f;
constexpr int OWN_ITERATIONS = 8;
constexpr double SMALLEST_COST = 1e-9;  // of a task, as in own_cpu.py

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int ivec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline vec all(float x) { return vec{} + x; }

// -- functions of a vector -------------------------------------------------------------------------------------------

// e^x by x = n ln 2 + r and the Taylor series up to r^7 / 7!; x is clamped to [-87, 88].
inline vec exponential(vec x) {
    x = x < -87.0f ? all(-87.0f) : x;
    x = x > 88.0f ? all(88.0f) : x;
    const vec shifted = x * 1.44269504f + 12582912.0f;  // adding 1.5 · 2^23 leaves n in the last bits
    const ivec n = (ivec)shifted - 0x4B400000;
    const vec whole = shifted - 12582912.0f;
    const vec r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    vec p = all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * (vec)((n + 127) << 23);
}

inline vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }

// Hyperbolic tangent, exact to 1e-7.
inline vec hyperbolic(vec x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

template <int S, int AT, std::size_t... I>
inline vec picked(vec a, vec b, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, b, (int(I) / (S / 2) * S + int(I) % (S / 2) + AT)...);
}

// The sum over the lanes of each of LANES vectors, as one vector. S: lanes that still belong to one sum.
template <int S>
inline vec lane_sums(vec* x) {
    constexpr auto lanes = std::make_index_sequence<LANES>{};
    for (int i = 0; i < S / 2; ++i)
        x[i] = picked<S, 0>(x[2 * i], x[2 * i + 1], lanes) + picked<S, S / 2>(x[2 * i], x[2 * i + 1], lanes);
    if constexpr (S > 2) return lane_sums<S / 2>(x);
    else return x[0];
}

template <int S, bool SECOND, std::size_t... I>
inline vec crossed(vec a, vec b, std::index_sequence<I...>) {  // blocks of S lanes: a's and b's in turn
    return __builtin_shufflevector(
        a, b, (int(I) / S % 2 == 0 ? int(I) + (SECOND ? S : 0) : LANES + int(I) - (SECOND ? 0 : S))...);
}

template <int S>
inline void transpose(vec* x) {  // LANES x LANES numbers
    constexpr auto lanes = std::make_index_sequence<LANES>{};
    for (int i = 0; i < LANES; ++i) {
        if (i & S) continue;
        const vec a = x[i], b = x[i + S];
        x[i] = crossed<S, false>(a, b, lanes);
        x[i + S] = crossed<S, true>(a, b, lanes);
    }
    if constexpr (S > 1) transpose<S / 2>(x);
}

// -- chunks ------------------------------------------------------------------------------------------------------------

// Loads `count` rows of d numbers into lanes; row(i) points to the i-th. Lanes without a row are 0.
template <int V, typename Row>
void load_rows(vec* x, int d, int count, Row row) {
    for (int v = 0; v < V; ++v) {
        const int first = v * LANES, here = std::clamp(count - first, 0, LANES);
        if (d < LANES) {
            for (int f = 0; f < d; ++f) {
                vec one = {};
                for (int lane = 0; lane < here; ++lane) one[lane] = row(first + lane)[f];
                x[f * V + v] = one;
            }
            continue;
        }
        for (int at = 0;; at = std::min(at + LANES, d - LANES)) {
            vec square[LANES];
            for (int lane = 0; lane < LANES; ++lane) square[lane] = lane < here ? *(const loose*)(row(first + lane) + at) : loose{};
            transpose<LANES / 2>(square);
            for (int f = 0; f < LANES; ++f) x[(at + f) * V + v] = square[f];
            if (at == d - LANES) break;
        }
    }
}

template <int V>
void load(vec* x, const float* rows, int d, int count) {
    load_rows<V>(x, d, count, [=](int i) { return rows + long(i) * d; });
}

template <int V>
void store(float* rows, const vec* x, int d, int count) {
    for (int v = 0; v < V; ++v, rows += LANES * d) {
        const int here = std::clamp(count - v * LANES, 0, LANES);
        if (d < LANES) {
            for (int f = 0; f < d; ++f)
                for (int lane = 0; lane < here; ++lane) rows[lane * d + f] = x[f * V + v][lane];
            continue;
        }
        for (int at = 0;; at = std::min(at + LANES, d - LANES)) {
            vec square[LANES];
            for (int f = 0; f < LANES; ++f) square[f] = x[(at + f) * V + v];
            transpose<LANES / 2>(square);
            for (int lane = 0; lane < here; ++lane) *(loose*)(rows + lane * d + at) = square[lane];
            if (at == d - LANES) break;
        }
    }
}

template <int V, int R>
inline void product_of(
    vec* y, int first, const float* a, long to_next, long to_deeper, int depth, const vec* x, const float* bias, bool add
) {
    vec sum[R][V];
    for (int i = 0; i < R; ++i)
        for (int v = 0; v < V; ++v) sum[i][v] = add ? y[(first + i) * V + v] : all(bias ? bias[first + i] : 0.0f);
    a += first * to_next;
    for (int t = 0; t < depth; ++t, a += to_deeper)
        for (int i = 0; i < R; ++i) {
            const vec w = all(a[i * to_next]);
            for (int v = 0; v < V; ++v) sum[i][v] += w * x[t * V + v];
        }
    for (int i = 0; i < R; ++i)
        for (int v = 0; v < V; ++v) y[(first + i) * V + v] = sum[i][v];
}

// y[i] = bias[i] + sum over t of a[i · to_next + t · to_deeper] x[t]; with `add` y[i] += that.
template <int V>
void product(
    vec* y, int outputs, const float* a, long to_next, long to_deeper, int depth, const vec* x, const float* bias, bool add
) {
    constexpr int room = (REGISTERS - 4) / V;  // sums at a time; the other registers hold a weight and the V vectors that it multiplies
    constexpr int R = room >= 8 ? 8 : room >= 4 ? 4 : 2;
    int i = 0;
    for (; i + R <= outputs; i += R) product_of<V, R>(y, i, a, to_next, to_deeper, depth, x, bias, add);
    for (; i + 2 <= outputs; i += 2) product_of<V, 2>(y, i, a, to_next, to_deeper, depth, x, bias, add);
    for (; i < outputs; ++i) product_of<V, 1>(y, i, a, to_next, to_deeper, depth, x, bias, add);
}

// An affine map of one network and the sums of its gradients: of weights in squares, of biases lane by lane.
struct Map {
    const float* weight = nullptr;
    const float* bias = nullptr;
    int inputs = 0, outputs = 0;
    vec* squares = nullptr;
    vec* lanes = nullptr;

    static int up(int n) { return (n + SIDE - 1) / SIDE * SIDE; }
    static long room(int inputs, int outputs) { return long(up(inputs)) * up(outputs) / LANES + outputs; }

    Map(const float* weights, const float* biases, int g, int inputs, int outputs)
        : weight(weights + long(g) * inputs * outputs), bias(biases + long(g) * outputs), inputs(inputs), outputs(outputs) {}

    vec* gather(vec* at) {
        squares = at;
        lanes = at + long(up(inputs)) * up(outputs) / LANES;
        vec* const end = at + room(inputs, outputs);
        std::fill(at, end, vec{});
        return end;
    }

    template <int V>
    void forward(vec* y, const vec* x, int first = 0) const {
        product<V>(y, outputs - first, weight + first, 1, outputs, inputs, x, bias + first, false);
    }

    template <int V>
    void rectified(vec* y, const vec* x) const {
        forward<V>(y, x);
        for (int i = 0; i < outputs * V; ++i) y[i] = y[i] < 0.0f ? vec{} : y[i];
    }

    // Gradient of x from that of y, for outputs from `first` on.
    template <int V>
    void backward(vec* dx, const vec* dy, int first = 0, bool add = false) const {
        product<V>(dx, inputs, weight + first, outputs, 1, outputs - first, dy, nullptr, add);
    }

    // Gradients of the weights of outputs from `first` on, summed over `times` chunks, `x_apart` and `y_apart` vectors apart.
    template <int V>
    void learn(const vec* x, long x_apart, const vec* dy, long y_apart, int times, int first = 0) const {
        const int across = up(outputs) / SIDE;
        for (int o = first; o < outputs; o += SIDE) {
            const int wide = std::min(SIDE, outputs - o);
            for (int k = 0; k < inputs; k += SIDE) {
                const int high = std::min(SIDE, inputs - k);
                vec sum[SIDE * SIDE] = {};
                if (wide == SIDE && high == SIDE) square<V, true>(sum, x + k * V, x_apart, dy + (o - first) * V, y_apart, times, SIDE, SIDE);
                else square<V, false>(sum, x + k * V, x_apart, dy + (o - first) * V, y_apart, times, high, wide);
                vec* const at = squares + (long(k / SIDE) * across + o / SIDE) * (SIDE * SIDE / LANES);
                for (int part = 0; part < SIDE * SIDE / LANES; ++part) at[part] += lane_sums<LANES>(sum + part * LANES);
            }
        }
        for (int o = first; o < outputs; ++o) {
            vec sum = lanes[o];
            for (int p = 0; p < times; ++p)
                for (int v = 0; v < V; ++v) sum += dy[p * y_apart + (o - first) * V + v];
            lanes[o] = sum;
        }
    }

    template <int V, bool WHOLE>
    static inline void square(
        vec* sum, const vec* x, long x_apart, const vec* dy, long y_apart, int times, int high, int wide
    ) {
        for (int p = 0; p < times; ++p, x += x_apart, dy += y_apart)
            for (int v = 0; v < V; ++v)
                for (int i = 0; i < (WHOLE ? SIDE : high); ++i)
                    for (int j = 0; j < (WHOLE ? SIDE : wide); ++j) sum[i * SIDE + j] += x[i * V + v] * dy[j * V + v];
    }

    // Writes the sums to network g's part of (G, inputs, outputs) and (G, outputs).
    void hand_over(float* dweight, float* dbias, int g) const {
        dweight += long(g) * inputs * outputs;
        dbias += long(g) * outputs;
        const int across = up(outputs) / SIDE;
        const float* const numbers = (const float*)squares;
        for (int k = 0; k < inputs; ++k)
            for (int o = 0; o < outputs; ++o)
                dweight[k * outputs + o] =
                    numbers[(long(k / SIDE) * across + o / SIDE) * (SIDE * SIDE) + k % SIDE * SIDE + o % SIDE];
        for (int o = 0; o < outputs; ++o) {
            float sum = 0;
            for (int lane = 0; lane < LANES; ++lane) sum += lanes[o][lane];
            dbias[o] = sum;
        }
    }
};

template <int V>
void normalise(vec* y, vec* inverse, const vec* x, int d) {
    for (int v = 0; v < V; ++v) {
        vec sum = {}, squares = {};
        for (int f = 0; f < d; ++f) sum += x[f * V + v];
        const vec mean = sum / float(d);
        for (int f = 0; f < d; ++f) {
            const vec off = x[f * V + v] - mean;
            y[f * V + v] = off;
            squares += off * off;
        }
        vec scale = squares / float(d) + EPSILON;
        for (int lane = 0; lane < LANES; ++lane) scale[lane] = std::sqrt(scale[lane]);
        scale = 1.0f / scale;
        inverse[v] = scale;
        for (int f = 0; f < d; ++f) y[f * V + v] *= scale;
    }
}

// Adds to dx the gradient of x from that of its normalised form y.
template <int V>
void normalise_back(vec* dx, const vec* dy, const vec* y, const vec* inverse, int d) {
    for (int v = 0; v < V; ++v) {
        vec sum = {}, along = {};
        for (int f = 0; f < d; ++f) {
            sum += dy[f * V + v];
            along += dy[f * V + v] * y[f * V + v];
        }
        sum /= float(d);
        along /= float(d);
        for (int f = 0; f < d; ++f) dx[f * V + v] += inverse[v] * (dy[f * V + v] - sum - y[f * V + v] * along);
    }
}

// -- threads -----------------------------------------------------------------------------------------------------------

vec* scratch(std::size_t vectors) {  // owned by this thread and reused
    struct Kept {
        vec* at = nullptr;
        std::size_t size = 0;
        ~Kept() { std::free(at); }
    };
    thread_local Kept kept;
    if (kept.size < vectors) {
        std::free(kept.at);
        kept.at = static_cast<vec*>(std::aligned_alloc(64, (vectors * sizeof(vec) + 63) / 64 * 64));
        kept.size = kept.at ? vectors : 0;
        if (!kept.at) std::abort();
    }
    return kept.at;
}

// Calls `work` for every network, on OpenMP's threads if there are any. They are torch's own: another team would compete for
// the cores with torch's, whose threads spin for a while after their work.
template <typename Work>
void shared_out(int networks, [[maybe_unused]] int threads, Work work) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int g = 0; g < networks; ++g) work(g);
}

int vectors_of(int rows) { return (rows + LANES - 1) / LANES; }

struct Sizes {
    int networks;  // G
    int slices;    // per network
    int passes;    // P of an Encoder, steps of a GRU; 1 for two layers
    int others;    // other tokens that a row attends to; for two layers the outputs
    int rows;      // N
    int width;     // d
    int hidden;    // width of the hidden layer
    int together;  // an Encoder's rows attend to each other; a GRU's passes are consecutive steps
    int threads;
};

// Calls `work` for every chunk of rows, with its vectors per feature (a compile-time constant), first row and number of rows.
template <typename Work>
void chunks(int rows, Work work) {
    for (int at = 0; at < rows; at += MOST * LANES) {
        const int count = std::min(rows - at, MOST * LANES);
        switch (vectors_of(count)) {
            case 1: work(std::integral_constant<int, 1>{}, at, count); break;
            case 2: work(std::integral_constant<int, 2>{}, at, count); break;
            case 3: work(std::integral_constant<int, 3>{}, at, count); break;
            default: work(std::integral_constant<int, 4>{}, at, count);
        }
    }
}

// The same for all slices of network g; the slice comes before the chunk's first row.
template <typename Work>
void slices(const Sizes& s, int g, Work work) {
    for (long i = long(g) * s.slices; i < long(g + 1) * s.slices; ++i)
        chunks(s.rows, [&](auto v, int at, int count) { work(v, i, at, count); });
}

// Where the chunk from row `at` of slice i stores what the backward pass needs; `size` numbers per row.
vec* kept_at(const float* keep, const Sizes& s, long i, long size, int at) {
    return (vec*)keep + (i * vectors_of(s.rows) + at / LANES) * size;
}

// -- Encoder -----------------------------------------------------------------------------------------------------------

// What a chunk stores for the backward pass; offsets in units of V vectors.
struct Kept {
    int p, n, d, h, tokens;
    explicit Kept(const Sizes& s)
        : p(s.passes), n(s.others), d(s.width), h(s.hidden), tokens(s.together ? s.passes : s.others + 1) {}
    int seen() const { return 0; }                      // (P, d) normalised rows
    int qkv() const { return seen() + p * d; }          // (P, 3 d)
    int weights() const { return qkv() + p * 3 * d; }   // (P, HEADS, tokens)
    int mixed() const { return weights() + p * HEADS * tokens; }  // (P, d)
    int between() const { return mixed() + p * d; }     // (P, d) normalised rows after attention
    int hidden() const { return between() + p * d; }    // (P, h)
    int scales() const { return hidden() + p * h; }     // (2 P) of the normalisations
    int other() const { return scales() + 2 * p; }      // (n, d) the other tokens, normalised
    int kv() const { return other() + n * d; }          // (n, 2 d)
    int other_scales() const { return kv() + n * 2 * d; }
    int size() const { return other_scales() + n; }
};

// Pointers to the keys and values of the tokens that a row attends to.
template <typename T>
struct Seen {
    T* key[MOST_TOKENS];
    T* value[MOST_TOKENS];
    int tokens = 0;
    void add(T* kv, long d_vectors) {
        key[tokens] = kv;
        value[tokens++] = kv + d_vectors;
    }
};

template <int V>
void attend(const Seen<const vec>& seen, const vec* query, vec* weights, vec* mixed, int d) {
    const int wide = d / HEADS, tokens = seen.tokens;
    const float scale = 1.0f / std::sqrt(float(wide));
    for (int h = 0; h < HEADS; ++h) {
        vec* const w = weights + h * tokens * V;
        const int first = h * wide * V;
        vec most[V] = {};
        for (int t = 0; t < tokens; ++t) {
            const vec* const key = seen.key[t] + first;
            vec sum[V] = {};
            for (int c = 0; c < wide; ++c)
                for (int v = 0; v < V; ++v) sum[v] += query[first + c * V + v] * key[c * V + v];
            for (int v = 0; v < V; ++v) {
                sum[v] *= scale;
                w[t * V + v] = sum[v];
                most[v] = t == 0 || sum[v] > most[v] ? sum[v] : most[v];
            }
        }
        vec total[V] = {};
        for (int t = 0; t < tokens; ++t)
            for (int v = 0; v < V; ++v) {
                w[t * V + v] = exponential(w[t * V + v] - most[v]);
                total[v] += w[t * V + v];
            }
        for (int v = 0; v < V; ++v) total[v] = 1.0f / total[v];
        for (int t = 0; t < tokens; ++t)
            for (int v = 0; v < V; ++v) w[t * V + v] *= total[v];
        for (int c = 0; c < wide; ++c) {
            vec sum[V] = {};
            for (int t = 0; t < tokens; ++t)
                for (int v = 0; v < V; ++v) sum[v] += w[t * V + v] * seen.value[t][first + c * V + v];
            for (int v = 0; v < V; ++v) mixed[first + c * V + v] = sum[v];
        }
    }
}

// Adds to the gradients of the query, and of the keys and values that `d_seen` points to.
template <int V>
void attend_back(
    const Seen<const vec>& seen, const Seen<vec>& d_seen, const vec* query, vec* d_query, const vec* weights,
    const vec* d_mixed, int d
) {
    const int wide = d / HEADS, tokens = seen.tokens;
    const float scale = 1.0f / std::sqrt(float(wide));
    vec slope[MOST_TOKENS * V];
    for (int h = 0; h < HEADS; ++h) {
        const vec* const w = weights + h * tokens * V;
        const int first = h * wide * V;
        const vec* const dm = d_mixed + first;
        vec mean[V] = {};
        for (int t = 0; t < tokens; ++t) {
            const vec* const value = seen.value[t] + first;
            vec* const d_value = d_seen.value[t] + first;
            vec sum[V] = {};
            for (int c = 0; c < wide; ++c)
                for (int v = 0; v < V; ++v) {
                    sum[v] += dm[c * V + v] * value[c * V + v];
                    d_value[c * V + v] += w[t * V + v] * dm[c * V + v];
                }
            for (int v = 0; v < V; ++v) {
                slope[t * V + v] = sum[v];
                mean[v] += sum[v] * w[t * V + v];
            }
        }
        for (int t = 0; t < tokens; ++t) {
            const vec* const key = seen.key[t] + first;
            vec* const d_key = d_seen.key[t] + first;
            for (int v = 0; v < V; ++v) slope[t * V + v] = scale * w[t * V + v] * (slope[t * V + v] - mean[v]);
            for (int c = 0; c < wide; ++c)
                for (int v = 0; v < V; ++v) {
                    d_query[first + c * V + v] += slope[t * V + v] * key[c * V + v];
                    d_key[c * V + v] += slope[t * V + v] * query[first + c * V + v];
                }
        }
    }
}

// The tokens that row p of a chunk attends to: itself and the others, or all rows.
template <typename T>
Seen<T> seen_by(const Sizes& s, int p, T* qkv, T* kv, int v) {
    Seen<T> seen;
    const long d = long(s.width) * v;
    if (s.together) {
        for (int t = 0; t < s.passes; ++t) seen.add(qkv + (3 * t + 1) * d, d);
        return seen;
    }
    seen.add(qkv + (3 * p + 1) * d, d);
    for (int n = 0; n < s.others; ++n) seen.add(kv + 2 * n * d, d);
    return seen;
}

// After an Encoder's attention: x += out(mixed), then x += narrow(max(0, wide(normalised x))). `y` is scratch memory.
template <int V>
void feed(
    const Map& out, const Map& wide, const Map& narrow, vec* x, const vec* mixed, vec* between, vec* scale, vec* hidden, vec* y
) {
    const int d = out.outputs;
    out.forward<V>(y, mixed);
    for (int i = 0; i < d * V; ++i) x[i] += y[i];
    normalise<V>(between, scale, x, d);
    wide.rectified<V>(hidden, between);
    narrow.forward<V>(y, hidden);
    for (int i = 0; i < d * V; ++i) x[i] += y[i];
}

struct EncoderMaps {
    Map project, out, wide, narrow;
    EncoderMaps(const Sizes& s, const float* const* w, int g)
        : project(w[0], w[1], g, s.width, 3 * s.width),
          out(w[2], w[3], g, s.width, s.width),
          wide(w[4], w[5], g, s.width, s.hidden),
          narrow(w[6], w[7], g, s.hidden, s.width) {}
    static long room(const Sizes& s) {
        return Map::room(s.width, 3 * s.width) + Map::room(s.width, s.width) + Map::room(s.width, s.hidden) +
               Map::room(s.hidden, s.width);
    }
};

template <int V>
void encode(
    const Sizes& s, const EncoderMaps& maps, vec* kept, vec* work, const float* rows, const float* others, float* result,
    int at, int count
) {
    const Kept k(s);
    const int d = s.width;
    const long apart = long(s.rows) * d;
    vec* const x = work;
    vec* const y = work + long(s.passes) * d * V;
    vec* const seen = kept + k.seen() * V;
    vec* const qkv = kept + k.qkv() * V;
    vec* const scales = kept + k.scales() * V;
    for (int p = 0; p < s.passes; ++p) {
        load<V>(x + p * d * V, rows + p * apart + long(at) * d, d, count);
        normalise<V>(seen + p * d * V, scales + p * V, x + p * d * V, d);
        maps.project.forward<V>(qkv + p * 3 * d * V, seen + p * d * V);
    }
    for (int n = 0; n < s.others; ++n) {
        vec* const other = kept + (k.other() + n * d) * V;
        load<V>(y, others + n * apart + long(at) * d, d, count);
        normalise<V>(other, kept + (k.other_scales() + n) * V, y, d);
        maps.project.forward<V>(kept + (k.kv() + n * 2 * d) * V, other, d);
    }
    for (int p = 0; p < s.passes; ++p) {
        vec* const now = x + p * d * V;
        vec* const mixed = kept + (k.mixed() + p * d) * V;
        const auto seen_here = seen_by<const vec>(s, p, qkv, kept + k.kv() * V, V);
        attend<V>(seen_here, qkv + p * 3 * d * V, kept + (k.weights() + p * HEADS * k.tokens) * V, mixed, d);
        feed<V>(maps.out, maps.wide, maps.narrow, now, mixed, kept + (k.between() + p * d) * V, scales + (s.passes + p) * V,
                kept + (k.hidden() + p * s.hidden) * V, y);
        store<V>(result + p * apart + long(at) * d, now, d, count);
    }
}

template <int V>
void encode_back(
    const Sizes& s, const EncoderMaps& maps, vec* kept, vec* work, const float* d_result, float* d_rows, float* d_others,
    bool learn, int at, int count
) {
    const Kept k(s);
    const int d = s.width, h = s.hidden, passes = s.passes;
    const long apart = long(s.rows) * d;
    vec* const dx = work;                          // (P, d) of the rows after attention, then of the rows
    vec* const dy = dx + passes * d * V;           // (P, d) of the result
    vec* const dh = dy + passes * d * V;           // (P, h)
    vec* const d_qkv = dh + passes * h * V;        // (P, 3 d)
    vec* const d_kv = d_qkv + passes * 3 * d * V;  // (n, 2 d)
    vec* const part = d_kv + s.others * 2 * d * V; // (d)
    vec* const seen = kept + k.seen() * V;
    vec* const qkv = kept + k.qkv() * V;
    vec* const mixed = kept + k.mixed() * V;
    vec* const between = kept + k.between() * V;
    vec* const hidden = kept + k.hidden() * V;
    vec* const scales = kept + k.scales() * V;
    std::fill(d_qkv, part, vec{});
    for (int p = 0; p < passes; ++p) {
        vec* const from = dy + p * d * V;
        vec* const to = dx + p * d * V;
        vec* const wide = dh + p * h * V;
        load<V>(from, d_result + p * apart + long(at) * d, d, count);
        maps.narrow.backward<V>(wide, from);
        for (int i = 0; i < h * V; ++i) wide[i] = hidden[p * h * V + i] > 0.0f ? wide[i] : vec{};
        maps.wide.backward<V>(part, wide);
        std::copy(from, from + d * V, to);
        normalise_back<V>(to, part, between + p * d * V, scales + (passes + p) * V, d);
    }
    if (learn) {
        maps.narrow.learn<V>(hidden, h * V, dy, d * V, passes);
        maps.wide.learn<V>(between, d * V, dh, h * V, passes);
        maps.out.learn<V>(mixed, d * V, dx, d * V, passes);
    }
    for (int p = 0; p < passes; ++p) {
        maps.out.backward<V>(part, dx + p * d * V);
        attend_back<V>(seen_by<const vec>(s, p, qkv, kept + k.kv() * V, V), seen_by<vec>(s, p, d_qkv, d_kv, V),
                       qkv + p * 3 * d * V, d_qkv + p * 3 * d * V, kept + (k.weights() + p * HEADS * k.tokens) * V, part, d);
    }
    if (learn) {
        maps.project.learn<V>(seen, d * V, d_qkv, 3 * d * V, passes);
        if (s.others) maps.project.learn<V>(kept + k.other() * V, d * V, d_kv, 2 * d * V, s.others, d);
    }
    for (int p = 0; p < passes; ++p) {
        maps.project.backward<V>(part, d_qkv + p * 3 * d * V);
        normalise_back<V>(dx + p * d * V, part, seen + p * d * V, scales + p * V, d);
        store<V>(d_rows + p * apart + long(at) * d, dx + p * d * V, d, count);
    }
    for (int n = 0; n < s.others; ++n) {
        maps.project.backward<V>(part, d_kv + n * 2 * d * V, d);
        std::fill(dy, dy + d * V, vec{});
        normalise_back<V>(dy, part, kept + (k.other() + n * d) * V, kept + (k.other_scales() + n) * V, d);
        store<V>(d_others + n * apart + long(at) * d, dy, d, count);
    }
}

// -- GRU ---------------------------------------------------------------------------------------------------------------

// Gates of the i-th of n features, from the linear maps of the input and of the previous state.
struct Gates {
    vec update, reset, candidate;
    Gates(const vec* of_input, const vec* of_state, int i, int n)
        : update(sigmoid(of_input[i] + of_state[i])),
          reset(sigmoid(of_input[n + i] + of_state[n + i])),
          candidate(hyperbolic(of_input[2 * n + i] + reset * of_state[2 * n + i])) {}
    vec after(vec before) const { return candidate + update * (before - candidate); }
};

// What a chunk stores for the backward pass, in units of V vectors: inputs and gates of P passes; previous states and the part
// of the candidates that comes from them, once if all passes share the past, else (`together`) per pass.
struct GruKept {
    int p, q, d;
    explicit GruKept(const Sizes& s) : p(s.passes), q(s.together ? s.passes : 1), d(s.width) {}
    int gates() const { return p * d; }           // (P, 3 d): update, reset, candidate
    int states() const { return gates() + p * 3 * d; }  // (Q, d)
    int past() const { return states() + q * d; }       // (Q, d)
    int size() const { return past() + q * d; }
};

template <int V>
void remember(
    const Sizes& s, const Map& from_input, const Map& from_state, vec* kept, vec* work, const float* rows, const float* state,
    float* result, int at, int count
) {
    const GruKept k(s);
    const int d = s.width;
    const long apart = long(s.rows) * d;
    vec* const after = work;                // (d)
    vec* const of_state = work + d * V;     // (3 d)
    load<V>(after, state + long(at) * d, d, count);
    if (s.together) {
        store<V>(result + long(at) * d, after, d, count);
        result += apart;
    }
    for (int p = 0; p < s.passes; ++p) {
        vec* const x = kept + p * d * V;
        vec* const gates = kept + (k.gates() + p * 3 * d) * V;
        const int q = s.together ? p : 0;
        vec* const before = kept + (k.states() + q * d) * V;
        vec* const past = kept + (k.past() + q * d) * V;
        if (p == 0 || s.together) {
            std::copy(after, after + d * V, before);
            from_state.forward<V>(of_state, before);
            std::copy(of_state + 2 * d * V, of_state + 3 * d * V, past);
        }
        load<V>(x, rows + p * apart + long(at) * d, d, count);
        from_input.forward<V>(gates, x);
        for (int i = 0; i < d * V; ++i) {
            const Gates here(gates, of_state, i, d * V);
            gates[i] = here.update;
            gates[d * V + i] = here.reset;
            gates[2 * d * V + i] = here.candidate;
            after[i] = here.after(before[i]);
        }
        store<V>(result + p * apart + long(at) * d, after, d, count);
    }
}

template <int V>
void remember_back(
    const Sizes& s, const Map& from_input, const Map& from_state, const vec* kept, vec* work, const float* d_result,
    float* d_rows, float* d_state, bool learn, int at, int count
) {
    const GruKept k(s);
    const int d = s.width;
    const long apart = long(s.rows) * d;
    vec* const dy = work;                         // (d)
    vec* const carried = dy + d * V;              // (d) gradient of the previous state
    vec* const d_gates = carried + d * V;         // (P, 3 d)
    vec* const d_past = d_gates + s.passes * 3 * d * V;  // (Q, 3 d)
    std::fill(carried, carried + d * V, vec{});
    std::fill(d_past, d_past + k.q * 3 * d * V, vec{});
    const float* const d_after = d_result + (s.together ? apart : 0);
    for (int p = s.passes - 1; p >= 0; --p) {
        const int q = s.together ? p : 0;
        const vec* const gates = kept + (k.gates() + p * 3 * d) * V;
        const vec* const before = kept + (k.states() + q * d) * V;
        const vec* const past = kept + (k.past() + q * d) * V;
        vec* const here = d_gates + p * 3 * d * V;
        vec* const there = d_past + q * 3 * d * V;
        load<V>(dy, d_after + p * apart + long(at) * d, d, count);
        for (int i = 0; i < d * V; ++i) {
            const vec update = gates[i], reset = gates[d * V + i], candidate = gates[2 * d * V + i];
            const vec slope = s.together ? dy[i] + carried[i] : dy[i];
            const vec d_update = slope * (before[i] - candidate) * update * (1.0f - update);
            const vec d_candidate = slope * (1.0f - update) * (1.0f - candidate * candidate);
            const vec d_reset = d_candidate * past[i] * reset * (1.0f - reset);
            here[i] = d_update;
            here[d * V + i] = d_reset;
            here[2 * d * V + i] = d_candidate;
            there[i] += d_update;
            there[d * V + i] += d_reset;
            there[2 * d * V + i] += d_candidate * reset;
            carried[i] = s.together ? slope * update : carried[i] + slope * update;
        }
        if (p == 0 || s.together) from_state.backward<V>(carried, there, 0, true);
        from_input.backward<V>(dy, here);
        store<V>(d_rows + p * apart + long(at) * d, dy, d, count);
    }
    if (s.together) {
        load<V>(dy, d_result + long(at) * d, d, count);
        for (int i = 0; i < d * V; ++i) carried[i] += dy[i];
    }
    store<V>(d_state + long(at) * d, carried, d, count);
    if (learn) {
        from_input.learn<V>(kept, d * V, d_gates, 3 * d * V, s.passes);
        from_state.learn<V>(kept + k.states() * V, d * V, d_past, 3 * d * V, k.q);
    }
}

// -- two layers --------------------------------------------------------------------------------------------------------

template <int V>
void rectify(
    const Sizes& s, const Map& wide, const Map& out, vec* kept, vec* work, const float* rows, float* result, int at, int count
) {
    vec* const hidden = kept + s.width * V;
    load<V>(kept, rows + long(at) * s.width, s.width, count);
    wide.rectified<V>(hidden, kept);
    out.forward<V>(work, hidden);
    store<V>(result + long(at) * s.others, work, s.others, count);
}

template <int V>
void rectify_back(
    const Sizes& s, const Map& wide, const Map& out, const vec* kept, vec* work, const float* d_result, float* d_rows,
    bool learn, int at, int count
) {
    const vec* const hidden = kept + s.width * V;
    vec* const dy = work;
    vec* const dh = dy + s.others * V;
    vec* const dx = dh + s.hidden * V;
    load<V>(dy, d_result + long(at) * s.others, s.others, count);
    out.backward<V>(dh, dy);
    for (int i = 0; i < s.hidden * V; ++i) dh[i] = hidden[i] > 0.0f ? dh[i] : vec{};
    wide.backward<V>(dx, dh);
    store<V>(d_rows + long(at) * s.width, dx, s.width, count);
    if (learn) {
        out.learn<V>(hidden, 0, dy, 0, 1);
        wide.learn<V>(kept, 0, dh, 0, 1);
    }
}

// -- one task after another ---------------------------------------------------------------------------------------------------

struct Turn {
    int users, tasks, task, passes, rows, width, hidden, head, outputs, devices, known, threads;
};

struct TurnMaps {
    Map choices, project, out, wide, narrow, from_input, project_3, out_3, wide_3, narrow_3, head, last;
    TurnMaps(const Turn& s, const float* const* w, int g)
        : choices(w[0], w[1], g, s.known + inputs(s), s.width),
          project(w[2], w[3], g, s.width, 3 * s.width),
          out(w[4], w[5], g, s.width, s.width),
          wide(w[6], w[7], g, s.width, s.hidden),
          narrow(w[8], w[9], g, s.hidden, s.width),
          from_input(w[10], w[11], g, s.width, 3 * s.width),
          project_3(w[12], w[13], g, s.width, 3 * s.width),
          out_3(w[14], w[15], g, s.width, s.width),
          wide_3(w[16], w[17], g, s.width, s.hidden),
          narrow_3(w[18], w[19], g, s.hidden, s.width),
          head(w[20], w[21], g, s.width, s.head),
          last(w[22], w[23], g, s.head, s.outputs) {}
    static int inputs(const Turn& s) { return (s.tasks - 1 + 2) * s.devices; }
};

// One step's inputs: `Prepared` of nets/sequential_q.py, (G, …), then strategies and shares of all tasks, (U, N, J, ·).
struct TurnInputs {
    const float *rows, *qkv, *rest, *third, *others, *past, *from_past, *taken, *shares;
};

// Features of the other tasks' strategies in world n of an agent: the strategies in cyclic order from the own task on, and the
// shares that they request on each device.
template <int V>
void load_strategies(const Turn& s, const float* taken, const float* shares, vec* features, int v, int lane) {
    const int k = s.devices;
    float* const at = (float*)(features + v) + lane;
    const long next = long(V) * LANES;  // floats from one feature to the next
    long f = 0;
    for (int other = 1; other < s.tasks; ++other)
        for (int device = 0; device < k; ++device) at[next * f++] = taken[(s.task + other) % s.tasks * k + device];
    for (int device = 0; device < k; ++device)
        for (int kind = 0; kind < 2; ++kind) {
            float load = 0;
            for (int other = 0; other < s.tasks; ++other)
                if (other != s.task) load += taken[other * k + device] * shares[other * 2 + kind];
            at[next * f++] = load;
        }
}

template <int V>
void take_turn(
    const Turn& s, const TurnMaps& maps, const TurnInputs& in, vec* work, float* result, int user, int at, int count
) {
    const int d = s.width, feature_count = TurnMaps::inputs(s), n = s.rows;
    const long g = long(user) * s.tasks + s.task;
    vec* next = work;
    const auto room = [&](int features) { return std::exchange(next, next + long(features) * V); };
    // A lane is one pass of one world; all worlds of a pass are consecutive.
    const auto own = [&](vec* to, const float* from, int width) {
        load<V>(to, from + (g * s.passes * n + at) * width, width, count);
    };
    const auto of_world = [&](vec* to, const float* from, int width, int token = 0, int tokens = 1) {
        load_rows<V>(to, width, count, [=](int i) { return from + ((g * tokens + token) * n + (at + i) % n) * width; });
    };
    vec* const x = room(d);
    vec* const qkv = room(3 * d);
    vec* const others = room(d);
    vec* const others_kv = room(2 * d);
    vec* const rest = room(2 * d);
    vec* const third = room(3 * 2 * d);
    vec* const features = room(feature_count);
    vec* const between = room(d);
    vec* const mixed = room(d);
    vec* const y = room(d);
    vec* const weights = room(4 * HEADS);
    vec* const scale = room(1);
    vec* const gates = room(3 * d);
    vec* const past = room(3 * d);
    vec* const hidden = room(std::max(s.hidden, s.head));
    vec* const values = room(s.outputs);
    own(x, in.rows, d);
    own(qkv, in.qkv, 3 * d);
    of_world(others, in.others, d);
    of_world(rest, in.rest, 2 * d);
    for (int t = 0; t < 3; ++t) of_world(third + t * 2 * d * V, in.third, 2 * d, t, 3);
    std::fill(features, features + feature_count * V, vec{});
    for (int i = 0; i < count; ++i) {
        const long world = long(user) * n + (at + i) % n;
        load_strategies<V>(s, in.taken + world * s.tasks * s.devices, in.shares + world * s.tasks * 2, features, i / LANES, i % LANES);
    }
    product<V>(others, d, maps.choices.weight + long(s.known) * d, 1, d, feature_count, features, nullptr, true);
    normalise<V>(between, scale, others, d);
    maps.project.forward<V>(others_kv, between, d);
    Seen<const vec> seen;
    seen.add(qkv + d * V, d * V);
    seen.add(others_kv, d * V);
    seen.add(rest, d * V);
    attend<V>(seen, qkv, weights, mixed, d);
    feed<V>(maps.out, maps.wide, maps.narrow, x, mixed, between, scale, hidden, y);

    maps.from_input.forward<V>(gates, x);
    if (in.from_past) {
        of_world(past, in.from_past, 3 * d);
        of_world(y, in.past, d);
    }
    for (int i = 0; i < d * V; ++i)
        if (in.from_past) x[i] += Gates(gates, past, i, d * V).after(y[i]);
        else x[i] += (1.0f - sigmoid(gates[i])) * hyperbolic(gates[2 * d * V + i]);

    normalise<V>(between, scale, x, d);
    maps.project_3.forward<V>(qkv, between);
    Seen<const vec> joined;
    joined.add(qkv + d * V, d * V);
    for (int t = 0; t < 3; ++t) joined.add(third + t * 2 * d * V, d * V);
    attend<V>(joined, qkv, weights, mixed, d);
    feed<V>(maps.out_3, maps.wide_3, maps.narrow_3, x, mixed, between, scale, hidden, y);
    maps.head.rectified<V>(hidden, x);
    maps.last.forward<V>(values, hidden);
    store<V>(result + long(at) * s.outputs, values, s.outputs, count);
}

long turn_room(const Turn& s) {  // vectors of scratch memory, for each of a chunk's
    return 24L * s.width + TurnMaps::inputs(s) + 4 * HEADS + 1 + std::max(s.hidden, s.head) + s.outputs;
}

void turn_of_user(const Turn& s, const float* const* weights, const TurnInputs& in, vec* work, int user, float* result) {
    const TurnMaps maps(s, weights, user * s.tasks + s.task);
    chunks(s.passes * s.rows, [&](auto v, int at, int count) { take_turn<v>(s, maps, in, work, result, user, at, count); });
}

// -- own CPU ------------------------------------------------------------------------------------------------------------------

struct LocalTask {
    double delay, energy, twice, free;  // twice and free as in `policies.demand.OwnCpuTasks`
    int index;

    static LocalTask of(double p, const float* cost, int index) {
        const double delay = std::max(cost[0] * p, SMALLEST_COST), energy = cost[1] * p, twice = 2 * energy / delay;
        return {delay, energy, twice, std::pow(twice, 2.0 / 3), index};
    }

    // The share that is cheapest at a price of the CPU.
    double share(double price) const {
        const double y = price / delay;
        double f = 1 / std::sqrt(std::max(y + free, 1e-30));
        for (int i = 0; i < 2; ++i) {
            const double benefit = 1 / (f * f);
            f += (benefit - y - twice * f) / (2 * benefit / f + twice);
        }
        return f;
    }
};

// `policies.shares.own_allocation` for the tasks of one set, by Newton's method on the price of the CPU.
void divide(const std::vector<LocalTask>& tasks, float* shares) {
    double inverse = 0, twice = 0;
    for (const LocalTask& task : tasks) inverse += 1 / task.delay, twice += task.twice;
    const double count = double(tasks.size()), even = 1 / count;
    double price = std::max(count * count - twice / count * even, 0.0) * count / inverse, sum = 0;
    for (int i = 0; i <= OWN_ITERATIONS; ++i) {
        double slope = 0;
        sum = 0;
        for (const LocalTask& task : tasks) {
            const double f = task.share(price);
            shares[task.index] = float(f);
            sum += f;
            slope += 1 / (2 * task.delay / (f * f * f) + 2 * task.energy);
        }
        const double next = std::max(price + (sum - 1) / slope, 0.0);
        if (std::abs(next - price) <= 1e-9 * price) break;
        price = next;
    }
    for (const LocalTask& task : tasks) shares[task.index] /= float(std::max(sum, 1.0));
}

// -- the largest gain moves next ----------------------------------------------------------------------------------------------

struct Search {
    float favoured, other, smallest_gain, linear_cost, least_share;
};

// An agent's tasks on its own device, as `LocalWorth` of own_cpu.py values them.
struct LocalTasks {
    const float *p, *cost;
    std::vector<LocalTask> known;
    const Search& limits;

    LocalTasks(const float* p, const float* cost, int tasks, const Search& limits) : p(p), cost(cost), limits(limits) {
        for (int j = 0; cost && j < tasks; ++j) known.push_back(LocalTask::of(p[j], cost + 2 * j, j));
    }

    // Weighted worth of the local tasks of the strategies `at`, with or without task j.
    float worth(const std::vector<int>& at, int j, bool with) const {
        std::vector<LocalTask> chosen;
        for (const LocalTask& task : known)
            if ((task.index == j ? with : at[task.index] == 0) && p[task.index] > 0) chosen.push_back(task);
        if (chosen.empty()) return 0;
        std::vector<float> shares(at.size());
        divide(chosen, shares.data());
        float sum = 0;
        for (const LocalTask& task : chosen) {
            const float x = shares[task.index], *const c = cost + 2 * task.index;
            const float all = c[0] / std::max(x, limits.least_share) + c[1] * x * x;
            sum += p[task.index] * (1 - (all > limits.linear_cost ? limits.linear_cost * (1 + std::log(all / limits.linear_cost)) : all));
        }
        return sum;
    }
};

// One move of an agent in world n, if a task gains. values: (J, P, N, outputs); taken: (J, K + 1). Returns whether one moved.
bool move(
    const Turn& s, const Search& limits, const LocalTasks& local, const float* rank, const float* values, int n, float* taken
) {
    std::vector<int> at(s.tasks), count(s.devices);
    for (int j = 0; j < s.tasks; ++j) {
        const float* const row = taken + j * s.devices;
        ++count[at[j] = int(std::max_element(row, row + s.devices) - row)];
    }
    std::vector<float> score(s.devices);
    float largest = limits.smallest_gain;
    int mover = -1, to = 0;
    for (int j = 0; j < s.tasks; ++j) {
        const float with = local.worth(at, j, true), without = local.worth(at, j, false);
        int favoured = 1;
        const auto load = [&](int k) { return float(count[k] - (at[j] == k)) + rank[k]; };
        for (int k = 2; k < s.devices; ++k)
            if (load(k) < load(favoured)) favoured = k;
        for (int k = 0; k < s.devices; ++k) {
            const float* const value = values + ((long(j) * s.passes + k) * s.rows + n) * s.outputs;
            float sum = 0;
            if (local.cost) sum = k ? without + local.p[j] * value[0] : with;
            else
                for (int c = 0; c < s.tasks; ++c) sum += local.p[(j + c) % s.tasks] * value[c];
            score[k] = sum + (k == 0 ? 0 : k == favoured ? limits.favoured : limits.other);
        }
        for (int k = 0; k < s.devices; ++k)
            if (score[k] - score[at[j]] > largest) largest = score[k] - score[at[j]], mover = j, to = k;
    }
    if (mover < 0) return false;
    taken[mover * s.devices + at[mover]] = 0;
    taken[mover * s.devices + to] = 1;
    return true;
}

}  // namespace

extern "C" {

// Number of floats that a forward pass stores for the backward pass.
long encoder_keeps(const Sizes* s) { return long(Kept(*s).size()) * vectors_of(s->rows) * LANES * s->networks * s->slices; }

// rows (G, P, N, d), others (G, n, N, d) -> result (G, P, N, d). weights: project, out, wide, narrow, each with its bias.
void encoder_forward(
    const Sizes* sizes, const float* const* weights, const float* rows, const float* others, float* result, float* keep
) {
    const Sizes s = *sizes;
    const long size = Kept(s).size(), apart = long(s.rows) * s.width;
    shared_out(s.networks, s.threads, [=](int g) {
        const EncoderMaps maps(s, weights, g);
        vec* const work = scratch((long(s.passes + 1) * s.width + size) * MOST);
        slices(s, g, [&](auto v, long i, int at, int count) {
            vec* const here = keep ? kept_at(keep, s, i, size, at) : work + long(s.passes + 1) * s.width * MOST;
            encode<v>(s, maps, here, work, rows + i * s.passes * apart, others + i * s.others * apart,
                      result + i * s.passes * apart, at, count);
        });
    });
}

// Gradients of rows, others and, unless `gradients` is null, of the eight weights and biases.
void encoder_backward(
    const Sizes* sizes, const float* const* weights, float* keep, const float* d_result, float* d_rows, float* d_others,
    float* const* gradients
) {
    const Sizes s = *sizes;
    const long size = Kept(s).size(), apart = long(s.rows) * s.width;
    const long chunk = (long(s.passes) * (5 * s.width + s.hidden) + 2 * s.others * s.width + s.width) * MOST;
    shared_out(s.networks, s.threads, [=](int g) {
        EncoderMaps maps(s, weights, g);
        vec* const work = scratch(chunk + EncoderMaps::room(s));
        Map* const all_maps[] = {&maps.project, &maps.out, &maps.wide, &maps.narrow};
        if (gradients) {
            vec* at = work + chunk;
            for (Map* map : all_maps) at = map->gather(at);
        }
        slices(s, g, [&](auto v, long i, int at, int count) {
            encode_back<v>(s, maps, kept_at(keep, s, i, size, at), work, d_result + i * s.passes * apart,
                           d_rows + i * s.passes * apart, d_others + i * s.others * apart, gradients != nullptr, at, count);
        });
        if (gradients)
            for (int i = 0; i < 4; ++i) all_maps[i]->hand_over(gradients[2 * i], gradients[2 * i + 1], g);
    });
}

long gru_keeps(const Sizes* s) { return long(GruKept(*s).size()) * vectors_of(s->rows) * LANES * s->networks * s->slices; }

// rows (G, P, N, d), state (G, N, d) -> states (G, P, N, d); `together`: P consecutive steps, (G, P + 1, N, d) with `state`.
// weights: from_input and from_state, each with its bias.
void gru_forward(
    const Sizes* sizes, const float* const* weights, const float* rows, const float* state, float* result, float* keep
) {
    const Sizes s = *sizes;
    const long size = GruKept(s).size(), apart = long(s.rows) * s.width;
    shared_out(s.networks, s.threads, [=](int g) {
        const Map from_input(weights[0], weights[1], g, s.width, 3 * s.width);
        const Map from_state(weights[2], weights[3], g, s.width, 3 * s.width);
        vec* const work = scratch((4L * s.width + size) * MOST);
        slices(s, g, [&](auto v, long i, int at, int count) {
            vec* const here = keep ? kept_at(keep, s, i, size, at) : work + 4L * s.width * MOST;
            remember<v>(s, from_input, from_state, here, work, rows + i * s.passes * apart, state + i * apart,
                        result + i * (s.passes + (s.together ? 1 : 0)) * apart, at, count);
        });
    });
}

void gru_backward(
    const Sizes* sizes, const float* const* weights, const float* keep, const float* d_result, float* d_rows, float* d_state,
    float* const* gradients
) {
    const Sizes s = *sizes;
    const long size = GruKept(s).size(), apart = long(s.rows) * s.width;
    const long chunk = (2L + 3 * s.passes + 3 * GruKept(s).q) * s.width * MOST;
    shared_out(s.networks, s.threads, [=](int g) {
        Map from_input(weights[0], weights[1], g, s.width, 3 * s.width);
        Map from_state(weights[2], weights[3], g, s.width, 3 * s.width);
        vec* const work = scratch(chunk + 2 * Map::room(s.width, 3 * s.width));
        if (gradients) from_state.gather(from_input.gather(work + chunk));
        slices(s, g, [&](auto v, long i, int at, int count) {
            remember_back<v>(s, from_input, from_state, kept_at(keep, s, i, size, at), work,
                             d_result + i * (s.passes + (s.together ? 1 : 0)) * apart, d_rows + i * s.passes * apart,
                             d_state + i * apart, gradients != nullptr, at, count);
        });
        if (gradients) {
            from_input.hand_over(gradients[0], gradients[1], g);
            from_state.hand_over(gradients[2], gradients[3], g);
        }
    });
}

long layers_keep(const Sizes* s) { return long(s->width + s->hidden) * vectors_of(s->rows) * LANES * s->networks * s->slices; }

// rows (G, N, d) -> out(max(0, wide(rows))), (G, N, `others`). weights: wide, out, each with its bias.
void layers_forward(const Sizes* sizes, const float* const* weights, const float* rows, float* result, float* keep) {
    const Sizes s = *sizes;
    const long size = s.width + s.hidden;
    shared_out(s.networks, s.threads, [=](int g) {
        const Map wide(weights[0], weights[1], g, s.width, s.hidden), out(weights[2], weights[3], g, s.hidden, s.others);
        vec* const work = scratch((s.others + size) * MOST);
        slices(s, g, [&](auto v, long i, int at, int count) {
            vec* const here = keep ? kept_at(keep, s, i, size, at) : work + s.others * MOST;
            rectify<v>(s, wide, out, here, work, rows + i * s.rows * s.width, result + i * s.rows * s.others, at,
                       count);
        });
    });
}

void layers_backward(
    const Sizes* sizes, const float* const* weights, const float* keep, const float* d_result, float* d_rows,
    float* const* gradients
) {
    const Sizes s = *sizes;
    const long size = s.width + s.hidden, chunk = (size + s.others) * MOST;
    shared_out(s.networks, s.threads, [=](int g) {
        Map wide(weights[0], weights[1], g, s.width, s.hidden), out(weights[2], weights[3], g, s.hidden, s.others);
        vec* const work = scratch(chunk + Map::room(s.width, s.hidden) + Map::room(s.hidden, s.others));
        if (gradients) out.gather(wide.gather(work + chunk));
        slices(s, g, [&](auto v, long i, int at, int count) {
            rectify_back<v>(s, wide, out, kept_at(keep, s, i, size, at), work, d_result + i * s.rows * s.others,
                            d_rows + i * s.rows * s.width, gradients != nullptr, at, count);
        });
        if (gradients) {
            wide.hand_over(gradients[0], gradients[1], g);
            out.hand_over(gradients[2], gradients[3], g);
        }
    });
}

// Q-values of every pass of one task's networks of all users, (U, P, N, outputs). weights: those of `TurnMaps`, each with its
// bias; inputs: those of `TurnInputs`.
void turn(const Turn* sizes, const float* const* weights, const float* const* inputs, float* result) {
    const Turn s = *sizes;
    const TurnInputs in{inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5], inputs[6], inputs[7], inputs[8]};
    shared_out(s.users, s.threads, [=](int user) {
        vec* const work = scratch(turn_room(s) * MOST);
        turn_of_user(s, weights, in, work, user, result + long(user) * s.passes * s.rows * s.outputs);
    });
}

// The task of an agent that gains most by moving moves, until none gains or for `task` moves. inputs: those of `TurnInputs`, the
// weights p (U, N, J), the costs of local tasks (U, N, J, 2) or null where they are learned, and the agents' ranks of devices
// (U, K + 1); numbers: those of `Search`; taken: the strategies (U, N, J, K + 1), at first and at the end.
void search(const Turn* sizes, const float* const* weights, const float* const* inputs, const float* numbers, float* taken) {
    const Turn s = *sizes;
    const TurnInputs in{inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5], inputs[6], taken, inputs[8]};
    const float *const p = inputs[9], *const cost = inputs[10], *const rank = inputs[11];
    const Search limits{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    shared_out(s.users, s.threads, [=](int user) {
        const long size = long(s.passes) * s.rows * s.outputs;
        std::vector<float> values(s.tasks * size);
        std::vector<char> moving(s.rows, 1);
        vec* const work = scratch(turn_room(s) * MOST);
        for (int left = s.task, any = 1; any && left > 0; --left) {
            for (int task = 0; task < s.tasks; ++task) {
                Turn one = s;
                one.task = task;
                turn_of_user(one, weights, in, work, user, values.data() + task * size);
            }
            any = 0;
            for (int n = 0; n < s.rows; ++n) {
                const long world = long(user) * s.rows + n;
                const LocalTasks local(p + world * s.tasks, cost ? cost + world * s.tasks * 2 : nullptr, s.tasks, limits);
                if (moving[n]) moving[n] = move(s, limits, local, rank + user * s.devices, values.data(), n, taken + world * s.tasks * s.devices);
                any |= moving[n];
            }
        }
    });
}

// Shares of the own CPU for each set of local tasks. sizes: agents R, sets S, tasks J, threads; local_cost: (R, J, 2);
// weight: (R, J); local: (R, S, J); shares: (R, S, J), 0 for tasks that are not in the set.
void own_shares(const int* sizes, const float* local_cost, const float* weight, const bool* local, float* shares) {
    const int sets = sizes[1], tasks = sizes[2];
    shared_out(sizes[0], sizes[3], [=](int agent) {
        std::vector<LocalTask> known, chosen;
        for (int j = 0; j < tasks; ++j) {
            const long at = long(agent) * tasks + j;
            known.push_back(LocalTask::of(weight[at], local_cost + at * 2, j));
        }
        for (long set = long(agent) * sets; set < long(agent + 1) * sets; ++set) {
            float* const result = shares + set * tasks;
            std::fill(result, result + tasks, 0.0f);
            chosen.clear();
            for (int j = 0; j < tasks; ++j)
                if (local[set * tasks + j]) chosen.push_back(known[j]);
            if (!chosen.empty()) divide(chosen, result);
        }
    });
}

}  // extern "C"
