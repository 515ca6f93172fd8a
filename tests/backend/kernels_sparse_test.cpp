// SPDX-License-Identifier: Apache-2.0
// Sparse products against sums in double and against Eigen, over sizes that divide nothing, and bit for bit over
// thread counts; the layout they work in, there and back.
#include "kernels_common.hpp"

#include <limits>

#include <espalier/backend/detail/gemm.hpp>
#include <espalier/backend/detail/sparse.hpp>

#include <Eigen/SparseCore>

#include <doctest/doctest.h>

using namespace espalier;
using namespace espalier::detail;
using namespace kernels_test;

namespace {

/// Weights [outputs, inputs] of which about this share is zero.
std::vector<float> sparse_floats(Index outputs, Index inputs, double zeros, std::uint64_t seed) {
  auto w = random_floats(outputs * inputs, seed);
  const auto dice = random_floats(outputs * inputs, seed + 1);  // in [-1, 1)
  for (std::size_t i = 0; i < w.size(); ++i)
    if (static_cast<double>(dice[i]) < 2 * zeros - 1) w[i] = 0;
  return w;
}

/// x [rows, inputs] times the weights. Every combination of layouts must give the same bits, and leave the guards
/// behind each array alone.
std::vector<float> product(ThreadPool& pool, const SparseWeights& w, Index rows, const std::vector<float>& x, const Epilogue& epilogue = {}) {
  const Panels in{rows, w.inputs()}, out{rows, w.outputs()};
  Workspace ws(pool.threads());
  const auto guarded = [](Index count) { return std::vector<float>(static_cast<std::size_t>(count + 2), 7.0f); };
  auto panels_x = guarded(in.size()), panels_y = guarded(out.size()), from_panels_y = guarded(rows * w.outputs()), y = from_panels_y, mixed_y = y, turned_y = panels_y;
  to_panels(pool, in, x.data(), panels_x.data());
  sparse_product(pool, ws, w, rows, {panels_x.data(), true}, {panels_y.data(), true}, epilogue);
  from_panels(pool, out, panels_y.data(), from_panels_y.data());
  sparse_product(pool, ws, w, rows, {x.data(), false}, {y.data(), false}, epilogue);
  sparse_product(pool, ws, w, rows, {panels_x.data(), true}, {mixed_y.data(), false}, epilogue);
  sparse_product(pool, ws, w, rows, {x.data(), false}, {turned_y.data(), true}, epilogue);
  for (const auto* array : {&panels_x, &panels_y, &from_panels_y, &y, &mixed_y, &turned_y}) {
    CHECK((*array)[array->size() - 1] == 7.0f);
    CHECK((*array)[array->size() - 2] == 7.0f);
  }
  CHECK(same_bits(y, from_panels_y));
  CHECK(same_bits(y, mixed_y));
  CHECK(same_bits(panels_y, turned_y));
  y.resize(y.size() - 2);
  return y;
}

double error_of(Index outputs, Index inputs, Index rows, double zeros, int threads, bool with_bias, Activation activation) {
  const auto w = sparse_floats(outputs, inputs, zeros, 1), x = random_floats(rows * inputs, 3), bias = random_floats(outputs, 4);
  Expected expected(rows * outputs);
  for (Index j = 0; j < rows; ++j)
    for (Index o = 0; o < outputs; ++o) {
      const Index at = j * outputs + o;
      for (Index i = 0; i < inputs; ++i)
        expected.add(at, static_cast<double>(w[static_cast<std::size_t>(o * inputs + i)]), static_cast<double>(x[static_cast<std::size_t>(j * inputs + i)]));
      if (with_bias) expected.add(at, static_cast<double>(bias[static_cast<std::size_t>(o)]), 1.0);
      double& value = expected.value[static_cast<std::size_t>(at)];
      if (activation == Activation::relu) value = std::max(value, 0.0);
    }
  ThreadPool pool(threads);
  return worst_error(expected, product(pool, SparseWeights(outputs, inputs, w.data(), inputs, 1), rows, x,
                                       {.bias = with_bias ? bias.data() : nullptr, .activation = activation}));
}

}  // namespace

TEST_CASE("sparse products of every small size agree with sums in double") {
  for (const Index rows : {1, 2, 4, 5, 8, 9, 15, 16, 17, 31, 33, 48, 60, 63, 64, 65, 66, 129})
    for (const Index outputs : {1, 3, 31, 32, 33, 70})
      for (const Index inputs : {1, 5, 64, 127, 130})
        for (const double zeros : {0.0, 0.6, 0.97}) {
          CAPTURE(rows);
          CAPTURE(outputs);
          CAPTURE(inputs);
          CAPTURE(zeros);
          CHECK(error_of(outputs, inputs, rows, zeros, 2, true, Activation::relu) < 2e-6);
        }
}

TEST_CASE("bias and activation happen once, however many windows and chunks a sum is cut into") {
  for (const Index inputs : {128, 129, 1023, 1024, 1025, 2500})
    for (const double zeros : {0.0, 0.5, 0.9, 0.98, 1.0})
      for (const bool bias : {false, true})
        for (const Activation activation : {Activation::none, Activation::relu}) {
          CAPTURE(inputs);
          CAPTURE(zeros);
          CAPTURE(bias);
          CHECK(error_of(35, inputs, 70, zeros, 3, bias, activation) < 2e-6);
          CHECK(error_of(35, inputs, 1, zeros, 1, bias, activation) < 2e-6);
        }
}

TEST_CASE("nothing to add up leaves bias and activation") {
  ThreadPool pool(2);
  const std::vector<float> bias{1.5f, -2.0f, 0.25f};
  const SparseWeights without_inputs(3, 0, nullptr, 0, 1);
  CHECK(product(pool, without_inputs, 2, {}, {.bias = bias.data(), .activation = Activation::relu}) == std::vector<float>{1.5f, 0.0f, 0.25f, 1.5f, 0.0f, 0.25f});
  CHECK(product(pool, without_inputs, 2, {}) == std::vector<float>(6, 0.0f));
  const std::vector<float> zeros(30, 0.0f), x = random_floats(40, 1);
  const SparseWeights all_zero(3, 10, zeros.data(), 10, 1);
  CHECK(all_zero.nonzeros() == 0);
  CHECK(product(pool, all_zero, 4, x, {.bias = bias.data()}) == std::vector<float>{1.5f, -2.0f, 0.25f, 1.5f, -2.0f, 0.25f, 1.5f, -2.0f, 0.25f, 1.5f, -2.0f, 0.25f});
  CHECK(product(pool, all_zero, 0, {}).empty());
  CHECK(product(pool, SparseWeights(0, 10, nullptr, 10, 1), 4, x).empty());
}

TEST_CASE("outputs without a weight and inputs that nobody reads do no harm") {
  const Index outputs = 75, inputs = 1100, rows = 65;
  auto w = sparse_floats(outputs, inputs, 0.8, 5);
  for (Index o = 0; o < outputs; ++o)
    for (Index i = 0; i < inputs; ++i)
      if (o % 3 == 0 || (o >= 32 && o < 64) || i % 7 == 0 || i >= 1024) w[static_cast<std::size_t>(o * inputs + i)] = 0;
  auto x = random_floats(rows * inputs, 6);
  ThreadPool pool(2);
  const SparseWeights sparse(outputs, inputs, w.data(), inputs, 1);
  const auto y = product(pool, sparse, rows, x);
  for (Index j = 0; j < rows; ++j)
    for (Index o = 0; o < outputs; o += 3) CHECK(y[static_cast<std::size_t>(j * outputs + o)] == 0.0f);
  for (Index j = 0; j < rows; ++j) x[static_cast<std::size_t>(j * inputs + 1050)] = std::numeric_limits<float>::infinity();
  CHECK(same_bits(y, product(pool, sparse, rows, x)));
}

TEST_CASE("every number of threads gives the same bits") {
  const Index sizes[][3] = {{300, 784, 60}, {100, 300, 60}, {10, 100, 60}, {768, 3072, 128}, {33, 1500, 1}, {200, 90, 1000}, {500, 64, 7}};
  for (const auto& size : sizes) {
    const auto w = sparse_floats(size[0], size[1], 0.9, 7), x = random_floats(size[2] * size[1], 8), bias = random_floats(size[0], 9);
    const SparseWeights sparse(size[0], size[1], w.data(), size[1], 1);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 4, 7}) {
      ThreadPool pool(threads);
      const auto y = product(pool, sparse, size[2], x, {.bias = bias.data(), .activation = Activation::relu});
      if (first.empty()) first = y;
      CAPTURE(threads);
      CAPTURE(size[0]);
      CHECK(same_bits(first, y));
    }
  }
}

TEST_CASE("panels hold what rows hold, there and back, for every number of rows") {
  ThreadPool pool(3);
  for (Index rows = 0; rows <= 130; ++rows)
    for (const Index channels : {1, 3, 16, 17, 255, 257, 530}) {
      const Panels s{rows, channels};
      const auto x = random_floats(rows * channels, 10);
      std::vector<float> panels(static_cast<std::size_t>(s.size() + 1), 7.0f), back(static_cast<std::size_t>(rows * channels + 1), 7.0f);
      to_panels(pool, s, x.data(), panels.data());
      Index wrong = 0;
      for (Index q = 0; q < s.count(); ++q)
        for (Index c = 0; c < channels; ++c)
          for (Index j = 0; j < s.room(q); ++j) {
            const float found = panels[static_cast<std::size_t>(s.begin(q) + c * s.room(q) + j)];
            wrong += found != (j < s.rows_of(q) ? x[static_cast<std::size_t>((q * panel_rows + j) * channels + c)] : 0.0f);
          }
      from_panels(pool, s, panels.data(), back.data());
      CAPTURE(rows);
      CAPTURE(channels);
      CHECK(wrong == 0);
      CHECK(panels.back() == 7.0f);
      CHECK(back.back() == 7.0f);
      back.pop_back();
      CHECK(back == x);
    }
}

TEST_CASE("small batches take no room for rows they do not have") {
  CHECK(Panels{1, 100}.size() == 100);
  CHECK(Panels{3, 100}.size() == 400);
  CHECK(Panels{64, 100}.size() == 6400);
  CHECK(Panels{65, 100}.size() == 6500);
  for (Index rows = 1; rows <= 64; ++rows) CHECK(Panels{rows, 10}.size() < 10 * (rows + std::max<Index>(3, simd::lanes)));
}

TEST_CASE("weights are read by their strides, and stored if they are not exactly zero") {
  const float w[2][3] = {{0.0f, -0.0f, 1e-40f}, {std::numeric_limits<float>::quiet_NaN(), 2.0f, 0.0f}};
  CHECK(SparseWeights(2, 3, &w[0][0], 3, 1).nonzeros() == 3);
  const Index outputs = 40, inputs = 500, rows = 20;
  const auto outside = sparse_floats(outputs, inputs, 0.7, 11), x = random_floats(rows * inputs, 12);
  std::vector<float> inside(outside.size());
  for (Index o = 0; o < outputs; ++o)
    for (Index i = 0; i < inputs; ++i) inside[static_cast<std::size_t>(i * outputs + o)] = outside[static_cast<std::size_t>(o * inputs + i)];
  ThreadPool pool(1);
  const SparseWeights a(outputs, inputs, outside.data(), inputs, 1), b(outputs, inputs, inside.data(), 1, outputs), copy = b;
  CHECK(same_bits(product(pool, a, rows, x), product(pool, b, rows, x)));
  CHECK(same_bits(product(pool, a, rows, x), product(pool, copy, rows, x)));
}

TEST_CASE("an infinity meets the weights that are there, and no zero") {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> w{0.0f, 2.0f, -3.0f, 0.0f}, x{inf, 1.0f};
  ThreadPool pool(1);
  const auto y = product(pool, SparseWeights(2, 2, w.data(), 2, 1), 1, x);
  CHECK(y[0] == 2.0f);
  CHECK(y[1] == -inf);
}

TEST_CASE("a ReLU passes a NaN on") {
  const std::vector<float> w{1.0f}, x(20, std::nanf(""));
  ThreadPool pool(1);
  for (const Index rows : {1, 4, 20})
    for (const float y : product(pool, SparseWeights(1, 1, w.data(), 1, 1), rows, x, {.bias = nullptr, .activation = Activation::relu})) CHECK(std::isnan(y));
}

TEST_CASE("the fewer weights, the wider the windows") {
  const auto window_at = [](double zeros) {
    const auto w = sparse_floats(64, 3072, zeros, 13);
    return SparseWeights(64, 3072, w.data(), 3072, 1).window();
  };
  CHECK(window_at(0.0) == 128);
  CHECK(window_at(0.8) == 128);
  CHECK(window_at(0.9) == 256);
  CHECK(window_at(0.98) == 1024);
  CHECK(window_at(1.0) == 1024);
}

TEST_CASE("a BERT-sized layer agrees with Eigen's sparse product and with our dense one to 1e-5") {
  const Index outputs = 768, inputs = 3072, rows = 100;
  for (const double zeros : {0.5, 0.9, 0.98}) {
    const auto w = sparse_floats(outputs, inputs, zeros, 14), x = random_floats(rows * inputs, 15);
    ThreadPool pool(2);
    Workspace ws(2);
    const auto found = product(pool, SparseWeights(outputs, inputs, w.data(), inputs, 1), rows, x);
    std::vector<float> dense(found.size());
    gemm(pool, ws, {.m = rows, .n = outputs, .k = inputs, .b = Transpose::yes, .lda = inputs, .ldb = inputs, .ldc = outputs}, x.data(), w.data(),
         dense.data(), Store::assign);
    using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::SparseMatrix<float, Eigen::RowMajor> sparse = Eigen::Map<const Rows>(w.data(), outputs, inputs).sparseView(0.0f, 0.0f);
    const Eigen::MatrixXf eigen = sparse * Eigen::Map<const Rows>(x.data(), rows, inputs).transpose();
    double scale = 0, from_dense = 0, from_eigen = 0;
    for (Index j = 0; j < rows; ++j)
      for (Index o = 0; o < outputs; ++o) {
        const auto at = static_cast<std::size_t>(j * outputs + o);
        const double value = static_cast<double>(found[at]);
        scale = std::max(scale, std::abs(value));
        from_dense = std::max(from_dense, std::abs(value - static_cast<double>(dense[at])));
        from_eigen = std::max(from_eigen, std::abs(value - static_cast<double>(eigen(o, j))));
      }
    CAPTURE(zeros);
    CHECK(from_dense < 1e-5 * scale);
    CHECK(from_eigen < 1e-5 * scale);
  }
}
