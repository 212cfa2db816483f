// The exact k nearest rows of each query, for CPUs with AVX2 or AVX-512 VNNI.
//
// Queries and rows are rounded to whole numbers of 16 bits (rows that have an
// int8 copy: to that), whose products are exact and twice as fast as float32's.
// A row's score and what rounding may have changed, together its `upper`, bound
// its similarity from above; less twice that, from below. Rows are kept while
// `upper` reaches the k-th largest lower bound. Canonical similarities (float64,
// then float32) of those that stay decide; ties go to the lower serial.
#include "panels.h"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr double kMost = 1 << 30;
constexpr int64_t kMostKept = 1 << 14;  // Of one query.
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

// What k of the values reach: the k-th largest, or less, but above the next.
int64_t reached_by(int64_t k, const std::vector<int32_t>& values) {
  int32_t least = values[0], most = values[0];
  for (const int32_t value : values)
    least = std::min(least, value), most = std::max(most, value);
  int64_t reached = least, over = int64_t(most) + 1;
  while (over - reached > 1) {
    const int32_t middle = reached + (over - reached) / 2;
    int32_t count = 0;
    for (const int32_t value : values) count += value >= middle;
    (count < k ? over : reached) = middle;
    if (count == k) break;
  }
  return reached;
}

struct Search {
  const float* queries;
  int64_t num_queries, dim;
  const Shard* shards;
  int64_t num_shards, shard_rows;
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
  int32_t lift_of(int32_t slot) const {
    if (!shards->copies) return rounding;
    const auto [shard, row] = place(slot);
    return lift(shard.residuals[row]);
  }

  // The shard of a slot, and where in it. Divisions are slow.
  std::pair<const Shard&, int64_t> place(int32_t slot) const {
    if (num_shards == 1) return {shards[0], slot};
    const uint32_t at = slot, size = shard_rows;
    return {shards[at / size], at % size};
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
      raise(q, reached_by(k, lowers) - 2 * slack[q]);
    }
    const int32_t needed = least[q];
    auto end = kept.begin();
    for (const Kept& one : kept) *end = one, end += one.upper >= needed;
    kept.erase(end, kept.end());
  }

  // Makes hits of what is kept; of many, the k best stay.
  void settle(int64_t q, std::vector<Kept>& kept, std::vector<Hit>& hits) {
    const std::vector<double> query(queries + q * dim, queries + (q + 1) * dim);
    for (size_t i = 0; i < kept.size(); ++i) {
      const auto [shard, row] = place(kept[i].slot);
      if (i + 1 < kept.size()) {
        const auto [other, next] = place(kept[i + 1].slot);
        const float* ahead = other.rows + next * dim;
        for (int64_t d = 0; d < dim; d += 16)
          _mm_prefetch((const char*)(ahead + d), _MM_HINT_T0);
      }
      const double exact = dot(query.data(), shard.rows + row * dim, dim);
      const float similarity = std::abs(exact) < 0x1p-126 ? 0 : float(exact);
      hits.push_back({similarity, shard.serials[row], kept[i].slot});
    }
    kept.clear();
    if (int64_t(hits.size()) <= 2 * k) return;
    std::nth_element(hits.begin(), hits.begin() + k - 1, hits.end());
    hits.resize(k);
    reach(q, hits[k - 1].similarity);
  }

  // Keeps what M queries need of some rows, of their products with these.
  template <int M>
  void scan(int64_t q, const __m256i (*sums)[kPanel / 8], const int32_t* lifts,
            const int32_t* serials, int32_t slot, Own* own,
            std::vector<int32_t>& lowers) {
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
          if (mine.kept.empty()) mine.kept.reserve(mine.room);
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
  Search search{queries,    num_queries, dim,      shards, num_shards,
                shard_rows, scale,       excluded, floors, k};
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
      const auto with_rows = [&](auto use) {
        if (shard.copies) use(shard.copies + at * dim);
        else use(shard.rows + at * dim);
      };
      const bool few = last - first <= kFew;
      if (!few)
        with_rows([&](auto rows) { fill(panel.data(), rows, count, dim); });
      const auto scan = [&](int64_t q, auto several) {
        const int16_t* wholes = &search.wholes[q * search.width];
        __m256i sums[several][kPanel / 8];
        if (few)
          with_rows([&](auto rows) {
            products<several>(wholes, rows, count, dim, search.width, sums);
          });
        else products<several>(wholes, panel.data(), search.width, sums);
        search.scan<several>(q, sums, lifts, present, start + at,
                             own[t].data(), lowers[t]);
      };
      int64_t q = first;
      const auto scan_by = [&](auto several) {
        for (; q + several <= last; q += several) scan(q, several);
      };
      if (few) scan_by(std::integral_constant<int, 8>());
      scan_by(std::integral_constant<int, kQueries>());
      scan_by(std::integral_constant<int, 2>());
      scan_by(std::integral_constant<int, 1>());
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
    Own all = std::move(own[0][q]);
    for (int64_t other = 1; other < num_threads; ++other) {
      const Own& part = own[other][q];
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
