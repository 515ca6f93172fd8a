// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <array>
#include <string>
#include <variant>
#include <vector>

#include <espalier/backend/reference.hpp>
#include <espalier/nn/module.hpp>

using namespace espalier;

namespace module_test {

namespace {

using P = Parameter<Reference>;

struct Leaf {
  P weight;
  std::optional<P> bias;
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
};
struct Statistics2 {
  Buffer<Reference> mean;
  Extent extent{3};
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("mean", self.mean);
    visit("extent", self.extent);
  }
};
struct Tree {
  std::vector<Leaf> stage;
  std::array<Leaf, 2> pair;
  std::variant<Leaf, Statistics2> either;
  std::optional<Statistics2> maybe;
  Leaf inlined;
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("stage", self.stage);
    visit("pair", self.pair);
    visit("either", self.either);
    visit("maybe", self.maybe);
    visit("", self.inlined);
  }
};

struct Fixture {
  Reference b;
  Leaf leaf(bool with_bias) {
    Leaf l{P(Tensor<Reference>::full(b, {2, 3}, 1), Layout::linear), {}};
    if (with_bias) l.bias = P(Tensor<Reference>::full(b, {3}, 2), Layout::plain);
    return l;
  }
  Tree tree() { return {{leaf(true), leaf(false)}, {leaf(false), leaf(false)}, Statistics2{{Tensor<Reference>::zeros(b, {4})}}, {}, leaf(true)}; }
};

template <class M>
std::vector<std::string> paths(M& module) {
  std::vector<std::string> all;
  for_each_member(module, [&](const std::string& path, auto&) { all.push_back(path); });
  return all;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "members are walked in the order of declaration, with dotted paths") {
  Tree t = tree();
  CHECK(paths(t) == std::vector<std::string>{"stage.0.weight", "stage.0.bias", "stage.1.weight", "pair.0.weight", "pair.1.weight", "either.mean", "either.extent", "weight", "bias"});
  t.either = leaf(false);
  t.maybe = Statistics2{{Tensor<Reference>::zeros(b, {4})}};
  const Tree& constant = t;
  CHECK(paths(constant) == std::vector<std::string>{"stage.0.weight", "stage.0.bias", "stage.1.weight", "pair.0.weight", "pair.1.weight", "either.weight", "maybe.mean", "maybe.extent", "weight", "bias"});
}

TEST_CASE_FIXTURE(Fixture, "parameters, buffers and extents are told apart") {
  Tree t = tree();
  int parameters = 0, buffers = 0, extents = 0;
  for_each_parameter(t, [&](const std::string&, auto& p) { p.has_gradient = true; ++parameters; });
  for_each_buffer(t, [&](const std::string& path, auto&) { CHECK(path == "either.mean"); ++buffers; });
  for_each_extent(t, [&](const std::string& path, Extent& e) { CHECK((path == "either.extent" && e.value == 3)); ++extents; });
  CHECK(parameters == 7);
  CHECK(buffers == 1);
  CHECK(extents == 1);
  CHECK(parameter_count(t) == 5 * 6 + 2 * 3);
  clear_gradients(t);
  for_each_parameter(t, [&](const std::string&, auto& p) { CHECK_FALSE(p.has_gradient); });
}

TEST_CASE_FIXTURE(Fixture, "a const module gives const members") {
  const Tree t = tree();
  for_each_parameter(t, [](const std::string&, auto& p) { static_assert(std::is_const_v<std::remove_reference_t<decltype(p)>>); });
  CHECK(parameter_count(t) == 36);
}

TEST_CASE_FIXTURE(Fixture, "copying a module copies its parameters") {
  Tree a = tree();
  const Tree copy = a;
  for_each_parameter(a, [&](const std::string&, auto& p) { b.fill(p.value.data(), p.value.count(), 9.0f); });
  for_each_parameter(copy, [&](const std::string&, const auto& p) { CHECK(p.value.to_host(b)[0] < 3); });
}

}  // namespace module_test
