// Queries and rows as whole numbers of 16 bits, and their products.
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

constexpr double kUnit = 30000;  // 1.0 in 16 bits: sums stay below 2**30.
// Rows and queries at once, and queries that are not worth making panels.
#ifdef __AVX512VNNI__
constexpr int64_t kPanel = 32, kQueries = 8, kFew = 8;
#else
constexpr int64_t kPanel = 16, kQueries = 4, kFew = 16;
#endif

// The products of M queries with the rows of a panel.
template <int M>
[[gnu::always_inline]] inline void products(const int16_t* queries,
                                            const int16_t* panel, int64_t width,
                                            __m256i (*sums)[kPanel / 8]) {
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

// Eight sums, each of eight entries.
inline __m256i sums_of(const __m256i (&x)[8]) {
  const __m256i low = _mm256_hadd_epi32(_mm256_hadd_epi32(x[0], x[1]),
                                        _mm256_hadd_epi32(x[2], x[3]));
  const __m256i high = _mm256_hadd_epi32(_mm256_hadd_epi32(x[4], x[5]),
                                         _mm256_hadd_epi32(x[6], x[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                          _mm256_permute2x128_si256(low, high, 0x31));
}

// The products of M queries with rows as they lie.
template <int M, class T>
inline void products(const int16_t* queries, const T* rows, int64_t count,
                     int64_t dim, int64_t width,
                     __m256i (*sums)[kPanel / 8]) {
  for (int64_t first = 0; first < kPanel; first += 8) {
    __m256i all[M][8] = {};
    for (int r = 0; r < 8 && first + r < count; ++r) {
      const T* row = rows + (first + r) * dim;
      __m256i own[M] = {};
      const auto add = [&](__m256i x, int64_t d) {
        for (int m = 0; m < M; ++m)
          own[m] = _mm256_add_epi32(
              own[m], _mm256_madd_epi16(x, _mm256_loadu_si256((const __m256i*)(
                                               queries + m * width + d))));
      };
      int64_t d = 0;
      for (; d + 16 <= dim; d += 16) add(wholes_of(row + d), d);
      if (d < dim) {
        T last[16] = {};
        std::copy(row + d, row + dim, last);
        add(wholes_of(last), d);
      }
      for (int m = 0; m < M; ++m) all[m][r] = own[m];
    }
    for (int m = 0; m < M; ++m) sums[m][first / 8] = sums_of(all[m]);
  }
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

}  // namespace
