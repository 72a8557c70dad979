// What the drivers run the kernels on.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>

using Random = std::mt19937_64;

// Exactly `size` doubles on the heap, so that the sanitizer sees one step too far; NaN until written.
struct Array {
  std::unique_ptr<double[]> data;
  std::int64_t size;
  explicit Array(std::int64_t count) : data(new double[static_cast<std::size_t>(count)]), size(count) {
    for (std::int64_t i = 0; i < count; ++i) data[i] = std::nan("");
  }
  Array(std::int64_t count, Random& rng) : Array(count) {
    std::normal_distribution<double> normal;
    for (std::int64_t i = 0; i < count; ++i) data[i] = normal(rng);
  }
  operator double*() const { return data.get(); }
};
