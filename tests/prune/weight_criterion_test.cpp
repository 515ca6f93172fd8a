// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/prune/unstructured.hpp>

#include "../archetypes/weight_criterion.hpp"
#include "bag.hpp"

using namespace espalier;
using namespace espalier::test;

namespace weight_criterion_test {

namespace {

using Floats = std::vector<float>;

template <WeightCriterion C>
Floats scores(const C& criterion, const Floats& values, const Floats& gradient = {}, const Floats& collected = {}, const std::string& path = "fc.weight") {
  Floats out(values.size());
  criterion.score({path, {1, static_cast<Index>(values.size())}, values, gradient, collected}, out);
  return out;
}
Scores collected(const std::string& rule, const Floats& values) { return {.rule = rule, .parts = {{"w", HostTensor{{1, static_cast<Index>(values.size())}, values}}}}; }

struct Backwards {  // a user's
  bool operator==(const Backwards&) const = default;
  void score(const WeightTensor& tensor, std::span<float> out) const {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = -tensor.values[i];
  }
  friend std::ostream& operator<<(std::ostream& to, const Backwards&) { return to << "Backwards{}"; }
};

}  // namespace

TEST_CASE("Magnitude is |w|") { CHECK(scores(Magnitude{}, {1, -3, 0, -0.5F}) == Floats{1, 3, 0, 0.5F}); }

TEST_CASE("Taylor and Snip are |w dL/dw| of the gradient at hand, and ask for one that is missing") {
  CHECK(scores(Taylor{}, {1, -3, 2}, {-2, 1, 0}) == Floats{2, 3, 0});
  CHECK(scores(Snip{}, {1, -3, 2}, {-2, 1, 0}) == Floats{2, 3, 0});
  CHECK_THROWS_WITH_AS(scores(Taylor{}, {1}), doctest::Contains("'fc.weight' has no gradient; run forward and backward"), PolicyError);
  CHECK_THROWS_WITH_AS(scores(Snip{}, {1}), doctest::Contains("Snip: found no gradient of 'fc.weight'"), PolicyError);
}

TEST_CASE("collected, Taylor and Movement are what was summed, and Snip |w sum of gradients|") {
  CHECK(scores(Taylor{}, {1, -3}, {9, 9}, {0.5F, 4}) == Floats{0.5F, 4});
  CHECK(scores(Movement{}, {1, -3}, {}, {-0.5F, 4}) == Floats{-0.5F, 4});
  CHECK(scores(Snip{}, {1, -3}, {9, 9}, {-0.5F, 4}) == Floats{0.5F, 12});
  CHECK_THROWS_WITH_AS(scores(Movement{}, {1}), doctest::Contains("Movement: found no scores for 'fc.weight'"), PolicyError);
  CHECK_THROWS_WITH_AS(scores(Given{}, {1}), doctest::Contains("Given: found no scores for 'fc.weight'"), PolicyError);
}

TEST_CASE("Random draws by seed and path: the same again, not the same elsewhere") {
  const Floats w(100, 1.0F);
  CHECK(scores(Random{1}, w) == scores(Random{1}, w));
  CHECK(scores(Random{1}, w) != scores(Random{2}, w));
  CHECK(scores(Random{1}, w) != scores(Random{1}, w, {}, {}, "fc2.weight"));
}

TEST_CASE("random pruning in two rounds is random pruning in one") {
  Reference b;
  const auto net = one({10, 10}, Floats(100, 1.0F));
  const GlobalRandom half{.remove = 0.5, .criterion = {.seed = 5}};
  const Mask once = half.first(b, net);
  CHECK(half.next(b, net, once) == GlobalRandom{.remove = 0.75, .criterion = {.seed = 5}}.first(b, net));
  CHECK(once != GlobalRandom{.remove = 0.5, .criterion = {.seed = 6}}.first(b, net));
}

TEST_CASE("a gradient that backward left in the network is read, in the outside layout") {
  Reference b;
  Bag<Reference> net;
  net.add(b, "w", {2, 3}, {1, 1, 1, 1, 1, 1}, Layout::linear).gradient(b, {1, -6, 3, 4, -5, 2});
  CHECK(bits(LayerTaylor{.remove = 0.5}.first(b, net)) == Bits{0, 1, 0, 1, 1, 0});
  CHECK(bits(GlobalSnip{.remove = 0.5}.first(b, net)) == Bits{0, 1, 0, 1, 1, 0});
}

TEST_CASE("movement keeps what moves away from zero and drops what moves towards it, however large") {
  Reference b;
  const auto net = one({1, 4}, {10, -10, 0.1F, -0.1F});
  CHECK(bits(GlobalMovement{.remove = 0.5}.first(b, net, collected("Movement", {-1, -2, 0.5F, 0.25F}))) == Bits{0, 0, 1, 1});
}

TEST_CASE("collected scores of another rule, for a criterion that reads none, or of another shape are refused") {
  Reference b;
  const auto net = one({1, 2}, {1, 2});
  CHECK_THROWS_WITH_AS((GlobalMovement{.remove = 0.5}.first(b, net, collected("Taylor", {1, 2}))),
                       doctest::Contains("GlobalMovement: found collected scores of the rule 'Taylor', needed those of 'Movement'"), PolicyError);
  CHECK_THROWS_WITH_AS((GlobalMagnitude{.remove = 0.5}.first(b, net, collected("Taylor", {1, 2}))), doctest::Contains("needed none"), PolicyError);
  CHECK_THROWS_WITH_AS((GlobalTaylor{.remove = 0.5}.first(b, net, collected("Taylor", {1, 2, 3}))), doctest::Contains("found shape [1, 3], needed [1, 2]"), StaleState);
}

TEST_CASE("a criterion of one's own needs no registration, and its policy says its name") {
  Reference b;
  const auto net = one({1, 4}, {4, -4, 1, 2});
  const Unstructured<Backwards, Scope::global> policy{.remove = 0.5};
  CHECK(bits(policy.first(b, net)) == Bits{0, 1, 1, 0});
  CHECK(str(policy) == "Unstructured<Backwards, Scope::global>{.remove = 0.5}");
}

TEST_CASE("a policy asks nothing of its criterion but what the concept says") {
  Reference b;
  const Unstructured<LeastWeightCriterion, Scope::layer> policy{.remove = 0.5};
  CHECK(bits(policy.first(b, one({1, 4}, {4, 3, 2, 1}))) == Bits{0, 0, 1, 1});
  CHECK(policy == Unstructured<LeastWeightCriterion, Scope::layer>{.remove = 0.5});
}

TEST_CASE("criteria are written as in code") {
  const auto text = [](const auto& criterion) {
    std::ostringstream out;
    out << criterion;
    return out.str();
  };
  CHECK(text(Magnitude{}) == "Magnitude{}");
  CHECK(text(Snip{}) == "Snip{}");
  CHECK(text(Movement{}) == "Movement{}");
  CHECK(text(Given{}) == "Given{}");
}

}  // namespace weight_criterion_test
