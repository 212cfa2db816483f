// The exact k nearest rows of each query, for CPUs with AVX2 or AVX-512 VNNI.
//
// Queries and rows are rounded to whole numbers of 16 bits (rows that have an
// int8 copy: to that), whose products are exact and twice as fast as float32's.
// A row's score and what rounding may have changed, together its `upper`, bound
// its similarity from above; less twice that, from below. Rows are kept while
// `upper` reaches the k-th largest lower bound. Canonical similarities (float64,
// then float32) of those that stay decide; ties go to the lower serial.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr double kUnit = 30000;  // 1.0 in 16 bits: sums stay below 2**30.
constexpr double kMost = 1 << 30;
constexpr int64_t kMostKept = 1 << 14;  // Of one query.
#ifdef __AVX512VNNI__
constexpr int64_t kPanel = 32, kQueries = 8;  // Rows, and queries, at once.
#else
constexpr int64_t kPanel = 16, kQueries = 4;
#endif
constexpr int64_t kGroup = 128;  // Queries: fewer are not worth rounding rows.

struct Shard {
  const float* rows;
  const int8_t* copies;  // Null, as residuals, where rows are rounded here.
  const float* residuals;
  const int32_t *serials, *labels;
};

struct Kept {
  int32_t upper, slot;
};

struct Hit {
  float similarity;
  int32_t serial, slot;
  bool operator<(const Hit& other) const {  // Better.
    return similarity > other.similarity ||
           (similarity == other.similarity && serial < other.serial);
  }
};

// What one thread keeps of one query.
struct Own {
  std::vector<Kept> kept;
  std::vector<Hit> hits;
  int64_t room = 0;
};

// The products of M queries with the rows of a panel.
template <int M>
inline void products(const int16_t* queries, const int16_t* panel,
                     int64_t width, __m256i (*sums)[kPanel / 8]) {
#ifdef __AVX512VNNI__
  __m512i own[M][2] = {};
  for (int64_t d = 0; d < width; d += 2, panel += 2 * kPanel) {
    const __m512i low = _mm512_loadu_si512(panel);
    const __m512i high = _mm512_loadu_si512(panel + kPanel);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      int32_t two;
      std::memcpy(&two, queries + m * width + d, 4);
      const __m512i pair = _mm512_set1_epi32(two);
      own[m][0] = _mm512_dpwssd_epi32(own[m][0], low, pair);
      own[m][1] = _mm512_dpwssd_epi32(own[m][1], high, pair);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
    for (int i = 0; i < 2; ++i) {
      sums[m][2 * i] = _mm512_castsi512_si256(own[m][i]);
      sums[m][2 * i + 1] = _mm512_extracti64x4_epi64(own[m][i], 1);
    }
#else
  __m256i own[M][2] = {};
  for (int64_t d = 0; d < width; d += 2, panel += 2 * kPanel) {
    const __m256i low = _mm256_loadu_si256((const __m256i*)panel);
    const __m256i high = _mm256_loadu_si256((const __m256i*)(panel + kPanel));
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      int32_t two;
      std::memcpy(&two, queries + m * width + d, 4);
      const __m256i pair = _mm256_set1_epi32(two);
      own[m][0] = _mm256_add_epi32(own[m][0], _mm256_madd_epi16(low, pair));
      own[m][1] = _mm256_add_epi32(own[m][1], _mm256_madd_epi16(high, pair));
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) sums[m][0] = own[m][0], sums[m][1] = own[m][1];
#endif
}

// Sixteen entries of a row as whole numbers.
inline __m256i wholes_of(const int8_t* row) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)row));
}
inline __m256i wholes_of(const float* row) {
  const __m256 unit = _mm256_set1_ps(float(kUnit));
  const __m256i packed =
      _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_loadu_ps(row) * unit),
                         _mm256_cvtps_epi32(_mm256_loadu_ps(row + 8) * unit));
  return _mm256_permute4x64_epi64(packed, 0xD8);
}

// Rows side by side, pair of entries by pair of entries; zeros at the ends.
template <class T>
void fill(int16_t* panel, const T* rows, int64_t count, int64_t dim) {
  for (int64_t first = 0; first < kPanel; first += 8)
    for (int64_t d = 0; d < dim; d += 16) {
      __m256i x[8] = {}, y[8];
      for (int r = 0; r < 8 && first + r < count; ++r) {
        const T* row = rows + (first + r) * dim + d;
        T last[16] = {};
        if (d + 16 > dim) row = std::copy(row, row + dim - d, last), row = last;
        x[r] = wholes_of(row);
      }
      for (int r = 0; r < 8; r += 2) {
        y[r] = _mm256_unpacklo_epi32(x[r], x[r + 1]);
        y[r + 1] = _mm256_unpackhi_epi32(x[r], x[r + 1]);
      }
      for (int r = 0; r < 8; r += 4)
        for (int i = 0; i < 2; ++i) {
          x[r + 2 * i] = _mm256_unpacklo_epi64(y[r + i], y[r + 2 + i]);
          x[r + 2 * i + 1] = _mm256_unpackhi_epi64(y[r + i], y[r + 2 + i]);
        }
      for (int i = 0; i < 8; ++i)
        _mm256_storeu_si256(
            (__m256i*)(panel + (d + 2 * i) * kPanel + 2 * first),
            i < 4 ? _mm256_permute2x128_si256(x[i], x[i + 4], 0x20)
                  : _mm256_permute2x128_si256(x[i - 4], x[i], 0x31));
    }
}

double dot(const double* query, const float* row, int64_t dim) {
  __m256d sums[4] = {};
  int64_t d = 0;
  for (; d + 16 <= dim; d += 16)
    for (int i = 0; i < 4; ++i)
      sums[i] = _mm256_fmadd_pd(
          _mm256_loadu_pd(query + d + 4 * i),
          _mm256_cvtps_pd(_mm_loadu_ps(row + d + 4 * i)), sums[i]);
  const __m256d all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = (all[0] + all[1]) + (all[2] + all[3]);
  for (; d < dim; ++d) sum += query[d] * row[d];
  return sum;
}

struct Search {
  const float* queries;
  int64_t num_queries, dim;
  const Shard* shards;
  int64_t shard_rows;
  double scale;  // Of the copies.
  const int32_t* excluded;
  const float* floors;
  int64_t k;

  const int64_t width = (dim + 15) / 16 * 16;
  const double unit = kUnit * (shards->copies ? 1 / scale : kUnit);
  const int32_t rounding = lift(0.506 * std::sqrt(dim) / kUnit);
  std::vector<int16_t> wholes = std::vector<int16_t>(num_queries * width);
  std::vector<double> lengths = std::vector<double>(num_queries);
  std::vector<double> slack = std::vector<double>(num_queries);
  std::vector<std::atomic<int32_t>> least =  // That `upper` must be.
      std::vector<std::atomic<int32_t>>(num_queries);

  // What an error of this length may add to a score.
  int32_t lift(double residual) const {
    return int32_t(std::min(std::ceil(unit * residual * 1.01) + 1, kMost));
  }
  int32_t lift_of(int64_t slot) const {
    if (!shards->copies) return rounding;
    return lift(shards[slot / shard_rows].residuals[slot % shard_rows]);
  }

  void prepare(int64_t q) {
    const float* query = queries + q * dim;
    double squares = 0, lost = 0;
    for (int64_t d = 0; d < dim; ++d) squares += double(query[d]) * query[d];
    lengths[q] = std::sqrt(squares);
    for (int64_t d = 0; d < dim && squares > 0; ++d) {
      const double value = query[d] / lengths[q] * kUnit;
      const double whole = std::nearbyint(value);
      wholes[q * width + d] = int16_t(whole);
      lost += (value - whole) * (value - whole);
    }
    // Similarities are rounded to float32, and to zero below 2**-126.
    slack[q] = lift(std::sqrt(lost) / kUnit + 0x1p-22 + 0x1p-124 / lengths[q]);
    least[q] = INT_MIN;
    reach(q, floors[q]);
  }

  void raise(int64_t q, double value) {
    const int32_t next = int32_t(std::clamp(value, kMost * -2, kMost * 2 - 1));
    int32_t old = least[q];
    while (old < next && !least[q].compare_exchange_weak(old, next)) {
    }
  }
  void reach(int64_t q, float similarity) {  // By k rows.
    if (std::isinf(similarity)) similarity > 0 ? raise(q, INT_MAX) : void();
    else if (lengths[q] > 0)
      raise(q, std::floor(similarity / lengths[q] * unit - slack[q]));
  }

  // Drops what others than k rows cannot be worse than.
  void drop(int64_t q, std::vector<Kept>& kept, std::vector<int32_t>& lowers) {
    if (int64_t(kept.size()) >= k) {
      lowers.clear();
      for (const Kept& one : kept)
        lowers.push_back(std::max<int64_t>(
            one.upper - 2 * int64_t(lift_of(one.slot)), INT_MIN));
      const auto kth = lowers.begin() + k - 1;
      std::nth_element(lowers.begin(), kth, lowers.end(), std::greater<>());
      raise(q, *kth - 2 * slack[q]);
    }
    const int32_t needed = least[q];
    std::erase_if(kept, [=](const Kept& one) { return one.upper < needed; });
  }

  // Makes hits of what is kept; the k best stay.
  void settle(int64_t q, std::vector<Kept>& kept, std::vector<Hit>& hits) {
    const std::vector<double> query(queries + q * dim, queries + (q + 1) * dim);
    for (size_t i = 0; i < kept.size(); ++i) {
      const Shard& shard = shards[kept[i].slot / shard_rows];
      const int64_t row = kept[i].slot % shard_rows;
      if (i + 1 < kept.size()) {
        const int32_t next = kept[i + 1].slot;
        const float* ahead =
            shards[next / shard_rows].rows + next % shard_rows * dim;
        for (int64_t d = 0; d < dim; d += 16)
          _mm_prefetch((const char*)(ahead + d), _MM_HINT_T0);
      }
      const double exact = dot(query.data(), shard.rows + row * dim, dim);
      const float similarity = std::abs(exact) < 0x1p-126 ? 0 : float(exact);
      hits.push_back({similarity, shard.serials[row], kept[i].slot});
    }
    kept.clear();
    if (int64_t(hits.size()) < k) return;
    std::nth_element(hits.begin(), hits.begin() + k - 1, hits.end());
    hits.resize(k);
    reach(q, hits[k - 1].similarity);
  }

  // Keeps what M queries need of the rows of a panel.
  template <int M>
  void scan(int64_t q, const int16_t* panel, const int32_t* lifts,
            const int32_t* serials, int32_t slot, Own* own,
            std::vector<int32_t>& lowers) {
    __m256i sums[M][kPanel / 8];
    products<M>(&wholes[q * width], panel, width, sums);
    for (int m = 0; m < M; ++m, ++q)
      for (int part = 0; part < kPanel / 8; part += 2) {
        const __m256i needed = _mm256_set1_epi32(least[q].load());
        __m256i upper[2];
        int below = 0;
        for (int i = 0; i < 2; ++i) {
          upper[i] = _mm256_add_epi32(
              sums[m][part + i],
              _mm256_loadu_si256((const __m256i*)(lifts + 8 * (part + i))));
          below |= _mm256_movemask_ps(_mm256_castsi256_ps(
                       _mm256_cmpgt_epi32(needed, upper[i])))
                   << 8 * i;
        }
        int rows = 0xFFFF & ~below;
        if (!rows) continue;
        int32_t uppers[16];
        std::memcpy(uppers, upper, sizeof(uppers));
        for (; rows; rows &= rows - 1) {
          const int at = __builtin_ctz(rows), row = 8 * part + at;
          if (serials[row] < 0 || slot + row == excluded[q]) continue;
          Own& mine = own[q];
          mine.kept.push_back({uppers[at], slot + row});
          if (int64_t(mine.kept.size()) < mine.room) continue;
          drop(q, mine.kept, lowers);
          if (2 * int64_t(mine.kept.size()) < mine.room) continue;
          if (mine.room < kMostKept) mine.room *= 2;
          else settle(q, mine.kept, mine.hits);
        }
      }
  }
};

template <class Task>
void in_parallel(int64_t count, int64_t num_threads, Task task) {
  std::atomic<int64_t> next{0};
  const auto run = [&](int64_t thread) {
    for (int64_t i; (i = next++) < count;) task(thread, i);
  };
  std::vector<std::thread> threads;
  for (int64_t t = 1; t < std::min(num_threads, count); ++t)
    threads.emplace_back(run, t);
  run(0);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

extern "C" void nearest(const float* queries, int64_t num_queries, int64_t dim,
                        const Shard* shards, int64_t num_shards,
                        int64_t shard_rows, double scale,
                        const int32_t* excluded, const float* floors, int64_t k,
                        int64_t num_threads, float* similarities,
                        int32_t* serials, int32_t* slots, int32_t* labels) {
  Search search{queries, num_queries, dim,    shards, shard_rows,
                scale,   excluded,    floors, k};
  in_parallel(num_queries, num_threads,
              [&](int64_t, int64_t q) { search.prepare(q); });
  const Own none{{}, {}, 2 * k + 64};
  std::vector<std::vector<Own>> own(num_threads, {size_t(num_queries), none});
  std::vector<std::vector<int32_t>> lowers(num_threads);
  const int64_t chunk =
      kPanel *
      std::clamp<int64_t>(shard_rows * num_shards / num_threads / 256, 1, 64);
  const int64_t per_shard = (shard_rows + chunk - 1) / chunk;
  const auto scan = [&](int64_t t, int64_t i, int64_t first, int64_t last) {
    const Shard& shard = shards[i / per_shard];
    const int64_t end = std::min(shard_rows, (i % per_shard + 1) * chunk);
    const int64_t start = i / per_shard * shard_rows;
    std::vector<int16_t> panel(kPanel * search.width);
    for (int64_t at = i % per_shard * chunk; at < end; at += kPanel) {
      const int64_t count = std::min(kPanel, end - at);
      int32_t lifts[kPanel] = {}, present[kPanel];
      for (int64_t r = 0; r < kPanel; ++r) {
        present[r] = r < count ? shard.serials[at + r] : -1;
        if (r < count) lifts[r] = search.lift_of(start + at + r);
      }
      if (shard.copies) fill(panel.data(), shard.copies + at * dim, count, dim);
      else fill(panel.data(), shard.rows + at * dim, count, dim);
      const auto scan = [&](int64_t q, auto several) {
        search.scan<several>(q, panel.data(), lifts, present, start + at,
                             own[t].data(), lowers[t]);
      };
      int64_t q = first;
      for (; q + kQueries <= last; q += kQueries)
        scan(q, std::integral_constant<int, kQueries>());
      for (; q < last; ++q) scan(q, std::integral_constant<int, 1>());
    }
  };
  // A thread has queries of its own, and helps with others' when done: of one
  // query, each thread that sees some of its rows keeps k.
  const int64_t groups =
      std::clamp<int64_t>(num_queries / kGroup, 1, num_threads);
  std::vector<std::atomic<int64_t>> next(groups);
  in_parallel(num_threads, num_threads, [&](int64_t, int64_t t) {
    for (int64_t other = 0; other < groups; ++other) {
      const int64_t group = (t + other) % groups;
      for (int64_t i; (i = next[group]++) < per_shard * num_shards;)
        scan(t, i, num_queries * group / groups,
             num_queries * (group + 1) / groups);
    }
  });
  in_parallel(num_queries, num_threads, [&](int64_t t, int64_t q) {
    Own all;
    for (const auto& one : own) {
      const Own& part = one[q];
      all.kept.insert(all.kept.end(), part.kept.begin(), part.kept.end());
      all.hits.insert(all.hits.end(), part.hits.begin(), part.hits.end());
    }
    search.drop(q, all.kept, lowers[t]);
    search.settle(q, all.kept, all.hits);
    std::sort(all.hits.begin(), all.hits.end());
    all.hits.resize(k, {-INFINITY, INT_MAX, -1});
    for (int64_t i = 0, at = q * k; i < k; ++i, ++at) {
      const int64_t slot = slots[at] = all.hits[i].slot;
      similarities[at] = all.hits[i].similarity;
      serials[at] = all.hits[i].serial;
      labels[at] =
          slot < 0 ? -1 : shards[slot / shard_rows].labels[slot % shard_rows];
    }
  });
}
