// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include <espalier/backend/reference.hpp>
#include <espalier/tensor/tensor.hpp>

using namespace espalier;

TEST_CASE("a shape knows its count, its channels and its rows") {
  const Shape s{2, 3, 5};
  CHECK(s.rank() == 3);
  CHECK(s.count() == 30);
  CHECK(s.channels() == 5);
  CHECK(s.rows() == 6);
  CHECK(s[-1] == 5);
  CHECK(s[-3] == 2);
  CHECK(s.with(-1, 7) == Shape{2, 3, 7});
  CHECK(s.with(0, 0).count() == 0);
  CHECK(Shape{}.count() == 1);
  CHECK(Shape{}.channels() == 1);
  CHECK(Shape{0}.rows() == 0);
  CHECK(str(s) == "[2, 3, 5]");
  CHECK_FALSE(Shape{2, 3} == Shape{2, 3, 1});
}

TEST_CASE("impossible shapes are errors") {
  CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1}), ShapeError);
  CHECK_THROWS_AS((Shape{2, -1}), ShapeError);
  CHECK_THROWS_AS((Shape{Index{1} << 40, Index{1} << 40}), ShapeError);
  CHECK_NOTHROW((Shape{Index{1} << 40, 0}));
}

TEST_CASE("a tensor is a value: a copy has its own elements") {
  Reference b;
  auto a = Tensor<Reference>::from(b, {2, 2}, std::vector<float>{1, 2, 3, 4});
  auto copy = a;
  b.fill(a.data(), 4, 0.0f);
  CHECK(copy.to_host(b) == std::vector<float>{1, 2, 3, 4});
  copy = a;
  CHECK(copy.to_host(b) == std::vector<float>(4, 0.0f));
  const Tensor<Reference> moved = std::move(copy);
  CHECK(moved.count() == 4);
}

TEST_CASE("tensors are made and read with checks") {
  Reference b;
  CHECK_THROWS_WITH_AS(Tensor<Reference>::from(b, {3}, std::vector<float>{1, 2}), doctest::Contains("needs 3 values, 2 were given"), ShapeError);
  CHECK(Tensor<Reference>::full(b, {1}, 5).item(b) == 5);
  CHECK_THROWS_AS(Tensor<Reference>::zeros(b, {2}).item(b), ShapeError);
  CHECK(Tensor<Reference>::zeros(b, {2, 6}).reshaped({3, 4}).shape() == Shape{3, 4});
  CHECK_THROWS_AS(Tensor<Reference>::zeros(b, {2, 6}).reshaped({5}), ShapeError);
  CHECK_FALSE(Tensor<Reference>{}.has_elements());
  CHECK(Tensor<Reference>{}.to_host(b).empty());
  CHECK(Ids<Reference>::from(b, {2}, std::vector<std::int32_t>{7, 8}).to_host(b) == std::vector<std::int32_t>{7, 8});
}

TEST_CASE("the reference backend's memory is aligned, and freed blocks are handed out again") {
  Reference b;
  {
    const auto a = Tensor<Reference>::zeros(b, {1000});
    CHECK(reinterpret_cast<std::uintptr_t>(a.data()) % 64 == 0);
  }
  const auto asked = b.pool().system_allocations();
  for (int i = 0; i < 10; ++i) Tensor<Reference>::zeros(b, {999});
  CHECK(b.pool().system_allocations() == asked);
}

TEST_CASE("a tensor outlives the backend value it was made with being moved") {
  Reference first;
  auto t = Tensor<Reference>::full(first, {3}, 2);
  Reference second = std::move(first);
  CHECK(t.to_host(second) == std::vector<float>(3, 2.0f));
}
