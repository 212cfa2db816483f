// The int8 copies of rows, and the length of what each row loses by its own.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

constexpr int64_t kWidth = 32;

// Copies so many entries; the sums of the squares of what they lose.
inline __m256 copy(const float* row, __m256 scale, int8_t* values) {
  const __m256 most = _mm256_set1_ps(127), least = _mm256_set1_ps(-127);
  __m256i steps[4];
  __m256 squares = {};
  for (int i = 0; i < 4; ++i) {
    const __m256 given = _mm256_loadu_ps(row + 8 * i);
    const __m256 clipped =
        _mm256_max_ps(_mm256_min_ps(_mm256_div_ps(given, scale), most), least);
    steps[i] = _mm256_cvtps_epi32(clipped);
    const __m256 lost =
        _mm256_fnmadd_ps(_mm256_cvtepi32_ps(steps[i]), scale, given);
    squares = _mm256_fmadd_ps(lost, lost, squares);
  }
  const __m256i packed = _mm256_packs_epi16(
      _mm256_packs_epi32(steps[0], steps[1]),
      _mm256_packs_epi32(steps[2], steps[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256((__m256i*)values,
                      _mm256_permutevar8x32_epi32(packed, order));
  return squares;
}

}  // namespace

extern "C" void int8_copy(const float* rows, int64_t count, int64_t dim,
                          float scale, int8_t* values, float* lengths) {
  const __m256 step = _mm256_set1_ps(scale);
  for (int64_t r = 0; r < count; ++r, rows += dim, values += dim) {
    __m256 squares = {};
    int64_t d = 0;
    for (; d + kWidth <= dim; d += kWidth)
      squares = _mm256_add_ps(squares, copy(rows + d, step, values + d));
    if (d < dim) {
      float last[kWidth] = {};
      int8_t made[kWidth];
      std::copy(rows + d, rows + dim, last);
      squares = _mm256_add_ps(squares, copy(last, step, made));
      std::copy(made, made + dim - d, values + d);
    }
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(squares),
                                   _mm256_extractf128_ps(squares, 1));
    lengths[r] = std::sqrt((four[0] + four[1]) + (four[2] + four[3]));
  }
}
