// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <numeric>

#include <espalier/autograd/parameter.hpp>
#include <espalier/backend/reference.hpp>

using namespace espalier;

namespace parameter_test {

namespace {

HostTensor counting(const Shape& shape) {
  HostTensor t{shape, std::vector<float>(static_cast<std::size_t>(shape.count()))};
  std::iota(t.values.begin(), t.values.end(), 0.0f);
  return t;
}

}  // namespace

TEST_CASE("every layout survives the way in and out") {
  Reference b;
  const HostTensor conv = counting({4, 3, 2, 5}), linear = counting({4, 3}), plain = counting({2, 3, 4});
  CHECK(to_host(b, from_host(b, conv, Layout::convolution), Layout::convolution) == conv);
  CHECK(to_host(b, from_host(b, linear, Layout::linear), Layout::linear) == linear);
  CHECK(to_host(b, from_host(b, plain, Layout::plain), Layout::plain) == plain);
}

TEST_CASE("inside, a linear weight is [in, out] and a convolution's is [kernel_h, kernel_w, in, out]") {
  Reference b;
  const auto linear = from_host(b, counting({2, 3}), Layout::linear);
  CHECK(linear.shape() == Shape{3, 2});
  CHECK(linear.to_host(b) == std::vector<float>{0, 3, 1, 4, 2, 5});
  const auto conv = from_host(b, counting({2, 1, 1, 3}), Layout::convolution);
  CHECK(conv.shape() == Shape{1, 3, 1, 2});
  CHECK(conv.to_host(b) == std::vector<float>{0, 3, 1, 4, 2, 5});
  const auto deep = from_host(b, counting({1, 2, 2, 1}), Layout::convolution);
  CHECK(deep.shape() == Shape{2, 1, 2, 1});
  CHECK(deep.to_host(b) == std::vector<float>{0, 2, 1, 3});
}

TEST_CASE("each element is where its indices say, whatever the sizes") {
  Reference b;
  for (const Shape& shape : {Shape{1, 40, 3, 1}, Shape{37, 1, 1, 2}, Shape{16, 16, 1, 1}, Shape{17, 33, 3, 3}, Shape{0, 4, 1, 1}}) {
    const HostTensor host = counting(shape);
    const Tensor<Reference> weight = from_host(b, host, Layout::convolution);
    const auto values = weight.to_host(b);
    std::size_t at = 0;
    for (Index y = 0; y < shape[2]; ++y)
      for (Index x = 0; x < shape[3]; ++x)
        for (Index i = 0; i < shape[1]; ++i)
          for (Index o = 0; o < shape[0]; ++o)
            if (values[at++] != static_cast<float>(((o * shape[1] + i) * shape[2] + y) * shape[3] + x)) FAIL_CHECK("shape " << str(shape) << ", element " << at - 1);
    CHECK(to_host(b, weight, Layout::convolution) == host);
  }
}

TEST_CASE("a parameter tells its outside shape, and a wrong rank is an error") {
  Reference b;
  const Parameter<Reference> p(from_host(b, counting({8, 3, 5, 7}), Layout::convolution), Layout::convolution);
  CHECK(p.outside_shape() == Shape{8, 3, 5, 7});
  CHECK(to_host(b, p) == counting({8, 3, 5, 7}));
  CHECK_THROWS_AS(from_host(b, counting({8, 3, 5}), Layout::convolution), ShapeError);
  CHECK_THROWS_AS(from_host(b, counting({8}), Layout::linear), ShapeError);
}

}  // namespace parameter_test
