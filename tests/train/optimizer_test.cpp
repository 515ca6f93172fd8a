// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include <espalier/backend/reference.hpp>
#include <espalier/io/safetensors.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

#include "common/skip.hpp"

using namespace espalier;

namespace optimizer_test {

using Double = BasicReference<double>;

namespace {

Mask without(const std::string& path, const Shape& shape, std::initializer_list<Index> dead) {
  MaskPart part = MaskPart::ones(path, shape);
  for (const Index i : dead) part.kill(i);
  return Mask({part});
}

// One weight tensor and nothing else.
template <Backend B>
struct Single {
  Parameter<B> weight;
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) { visit("weight", self.weight); }
};

template <Backend B>
Single<B> single(B& b, const std::vector<typename B::Scalar>& values) {
  return {Parameter<B>(Tensor<B>::from(b, {static_cast<Index>(values.size())}, values), Layout::plain)};
}

template <Backend B>
void give_gradient(B& b, Parameter<B>& p, const std::vector<typename B::Scalar>& values) {
  p.gradient = Tensor<B>::from(b, p.value.shape(), values);
  p.has_gradient = true;
}

// The update `sgn` of a user: nothing kept, no validate().
struct SignDescent {
  bool operator==(const SignDescent&) const = default;
  static constexpr std::array<std::string_view, 0> moments{};
  template <class T> struct Rule {
    T lr;
    void operator()(T& w, T g) const { w -= g > 0 ? lr : g < 0 ? -lr : 0; }
  };
  template <class T> Rule<T> rule(double lr, Index) const { return {static_cast<T>(lr)}; }
};
static_assert(Optimizer<SignDescent>);
struct NoRule {
  bool operator==(const NoRule&) const = default;
  static constexpr std::array<std::string_view, 0> moments{};
};
static_assert(!Optimizer<NoRule>);

template <Optimizer O>
void agrees_with_pytorch(const SafetensorsFile& golden, const std::string& name, O policy, double lr) {
  CAPTURE(name);
  Double b;
  auto net = single(b, golden.doubles(str("optimiser_", name, "/in/start")));
  const auto gradients = golden.doubles(str("optimiser_", name, "/in/grads"));
  const auto after = golden.doubles(str("optimiser_", name, "/after"));
  auto run = policy.over(b, net);
  for (std::size_t step = 0; step < 5; ++step) {
    give_gradient(b, net.weight, {gradients.begin() + static_cast<std::ptrdiff_t>(8 * step), gradients.begin() + static_cast<std::ptrdiff_t>(8 * step + 8)});
    run.step(b, net, lr);
    const auto values = net.weight.value.to_host(b);
    for (std::size_t i = 0; i < 8; ++i) CHECK(values[i] == doctest::Approx(after[8 * step + i]).epsilon(1e-13));
  }
}

template <Backend B>
models::Mlp<B> small_net(B& b) { return models::Mlp<B>(b, {5, 4, 3}, Rng(3)); }

// A forward and backward pass over four fixed samples.
template <Backend B, Module M>
void add_gradients(B& b, M& net, float scale = 1) {
  std::vector<typename B::Scalar> x;
  for (int i = 0; i < 20; ++i) x.push_back(static_cast<typename B::Scalar>(scale * static_cast<float>(i * 7 % 11 - 5)));
  const std::vector<std::int32_t> y{0, 1, 2, 1};
  const auto labels = Ids<B>::from(b, {4}, y);
  Tape<B> tape(b);
  tape.backward(tape.apply(op::CrossEntropy<B>{&labels}, forward(tape, net, tape.input(Tensor<B>::from(b, {4, 5}, x)))));
}

}  // namespace

TEST_CASE("SGD, Adam and AdamW follow PyTorch step by step in double") {
  const auto folder = test::golden_folder();
  if (!folder) return;
  const auto golden = SafetensorsFile::read((*folder / "ops.safetensors").string());
  agrees_with_pytorch(golden, "sgd", Sgd{.momentum = 0, .weight_decay = 0.01}, 0.1);
  agrees_with_pytorch(golden, "sgd_momentum", Sgd{.momentum = 0.9, .weight_decay = 0.01}, 0.1);
  agrees_with_pytorch(golden, "sgd_nesterov", Sgd{.momentum = 0.9, .nesterov = true, .weight_decay = 0.01}, 0.1);
  agrees_with_pytorch(golden, "adam", Adam{}, 0.01);
  agrees_with_pytorch(golden, "adam_l2", Adam{.weight_decay = 0.01}, 0.01);
  agrees_with_pytorch(golden, "adamw", AdamW{.weight_decay = 0.01}, 0.01);
}

TEST_CASE("two steps of SGD and one of Adam, done by hand") {
  Double b;
  auto net = single(b, {1.0});
  auto sgd = Sgd{.momentum = 0.5, .weight_decay = 0.25}.over(b, net);
  give_gradient(b, net.weight, {2.0});
  sgd.step(b, net, 0.1);  // v = g = 2.25; w = 1 - 0.225
  CHECK(net.weight.value.item(b) == doctest::Approx(0.775).epsilon(1e-15));
  give_gradient(b, net.weight, {0.0});
  sgd.step(b, net, 1.0);  // v = 1.125 + 0.19375
  CHECK(net.weight.value.item(b) == doctest::Approx(0.775 - 1.31875).epsilon(1e-14));

  auto other = single(b, {1.0});
  auto adamw = AdamW{.weight_decay = 0.5}.over(b, other);
  give_gradient(b, other.weight, {-3.0});
  adamw.step(b, other, 0.1);  // the first step of Adam is lr in size, whatever the gradient
  CHECK(other.weight.value.item(b) == doctest::Approx(1 - 0.05 + 0.1).epsilon(1e-8));
}

TEST_CASE("a step consumes gradients, and leaves parameters without one alone") {
  Reference b;
  auto net = small_net(b);
  auto run = optimizer_run(Sgd{}, b, net);
  const auto before = net.layers[0].weight.value.to_host(b);
  add_gradients(b, net);
  net.layers[0].weight.has_gradient = false;
  run.step(b, net, 0.1);
  CHECK(net.layers[0].weight.value.to_host(b) == before);
  for_each_parameter(net, [](const std::string&, const auto& p) { CHECK_FALSE(p.has_gradient); });
  const auto still = net.layers[1].weight.value.to_host(b);
  run.step(b, net, 0.1);  // no gradients, nothing happens: not even decay
  CHECK(net.layers[1].weight.value.to_host(b) == still);
}

TEST_CASE("an optimiser of the user's own needs a rule and nothing else") {
  Reference b;
  auto net = single(b, {1.0f, 1.0f, 1.0f});
  auto run = optimizer_run(SignDescent{}, b, net);
  give_gradient(b, net.weight, {5.0f, -0.1f, 0.0f});
  run.step(b, net, 0.25);
  CHECK(net.weight.value.to_host(b) == std::vector<float>{0.75f, 1.25f, 1.0f});
  CHECK(run.export_state(b).tensors.empty());
}

TEST_CASE("state of a network that has changed shape is refused with the path, before anything is touched") {
  Reference b;
  auto net = small_net(b);
  auto run = Adam{}.over(b, net);
  auto narrow = models::Mlp<Reference>(b, {5, 2, 3}, Rng(3));
  add_gradients(b, narrow);
  const auto before = narrow.layers[0].weight.value.to_host(b);
  CHECK_THROWS_WITH_AS(run.step(b, narrow, 0.1), doctest::Contains("'fc1.weight': found a parameter of shape [2, 5], needed [4, 5]"), StaleState);
  CHECK(narrow.layers[0].weight.value.to_host(b) == before);
  auto deep = models::Mlp<Reference>(b, {5, 4, 3, 3}, Rng(3));
  CHECK_THROWS_WITH_AS(run.step(b, deep, 0.1), doctest::Contains("'fc3.weight' where it knows no more"), StaleState);
  auto shallow = models::Mlp<Reference>(b, {5, 4}, Rng(3));
  CHECK_THROWS_WITH_AS(run.step(b, shallow, 0.1), doctest::Contains("no parameter 'fc2.weight'"), StaleState);
}

TEST_CASE("exported state continues where it was, bit for bit") {
  Reference b;
  auto net = small_net(b);
  auto run = Adam{.weight_decay = 0.1}.over(b, net);
  for (int i = 0; i < 3; ++i) {
    add_gradients(b, net, 0.5f + static_cast<float>(i));
    run.step(b, net, 0.01);
  }
  auto copy = net;
  auto resumed = Adam{.weight_decay = 0.1}.over(b, copy);
  resumed.import_state(b, run.export_state(b));
  CHECK(resumed.export_state(b) == run.export_state(b));
  CHECK(run.export_state(b).tensors[0].first == "mean/fc1.weight");
  CHECK(run.export_state(b).tensors[0].second.shape == Shape{4, 5});
  for (int i = 0; i < 3; ++i) {
    add_gradients(b, net);
    add_gradients(b, copy);
    run.step(b, net, 0.01);
    resumed.step(b, copy, 0.01);
  }
  CHECK(to_host(b, net.layers[0].weight) == to_host(b, copy.layers[0].weight));

  auto narrow = models::Mlp<Reference>(b, {5, 2, 3}, Rng(3));
  auto wrong = Adam{}.over(b, narrow);
  const auto untouched = wrong.export_state(b);
  CHECK_THROWS_WITH_AS(wrong.import_state(b, run.export_state(b)), doctest::Contains("found shape [4, 5], needed [2, 5]"), StaleState);
  CHECK(wrong.export_state(b) == untouched);
  auto sgd = Sgd{}.over(b, net);
  CHECK_THROWS_AS(sgd.import_state(b, run.export_state(b)), StaleState);
}

// CoursIA#16192: the mask was not applied after the step, and momentum made the network dense again.
TEST_CASE("dead weights stay dead through momentum, decay and infinite gradients, under every optimiser") {
  Reference b;
  const auto stays_dead = [&](auto policy) {
    auto net = small_net(b);
    auto run = policy.over(b, net);
    add_gradients(b, net);
    run.step(b, net, 0.05);  // moments are alive before the mask comes
    const Mask mask = without("fc1.weight", {4, 5}, {3, 7, 19});
    run.set_mask(b, net, mask);
    for (int i = 0; i < 1000; ++i) {
      add_gradients(b, net);
      run.step(b, net, 0.05);
      const auto weight = to_host(b, net.layers[0].weight), gradient = to_host(b, net.layers[0].weight.gradient, Layout::linear);
      const auto state = run.export_state(b);
      int dead = 0, alive = 0;
      for (std::size_t k = 0; k < 20; ++k) {
        if (mask.parts()[0].alive(static_cast<Index>(k))) {
          alive += weight.values[k] != 0;
          continue;
        }
        bool all_zero = weight.values[k] == 0 && gradient.values[k] == 0;
        for (std::size_t m = 0; m < policy.moments.size(); ++m) all_zero = all_zero && state.tensors[m].second.values[k] == 0;
        dead += all_zero;
      }
      REQUIRE(dead == 3);
      REQUIRE(alive == 17);
    }
  };
  stays_dead(Sgd{.weight_decay = 0.01});
  stays_dead(Sgd{.nesterov = true});
  stays_dead(Adam{.weight_decay = 0.01});
  stays_dead(AdamW{});

  auto net = single(b, {1.0f, 2.0f});
  auto run = Sgd{}.over(b, net);
  run.set_mask(b, net, without("weight", {2}, {0}));
  give_gradient(b, net.weight, {std::numeric_limits<float>::infinity(), 0.0f});
  run.step(b, net, 1);
  CHECK(net.weight.value.to_host(b)[0] == 0);
  CHECK_THROWS_WITH_AS(run.set_mask(b, net, without("weihgt", {2}, {0})), doctest::Contains("weihgt"), StaleState);
  CHECK_THROWS_AS(run.set_mask(b, net, without("weight", {1, 2}, {0})), StaleState);
}

TEST_CASE("clipping scales all gradients by one factor, and counts no dead weight") {
  Double b;
  auto net = single(b, {0.0, 0.0, 0.0});
  auto run = Sgd{.momentum = 0, .weight_decay = 0}.over(b, net, {.clip_norm = 1.0});
  give_gradient(b, net.weight, {3.0, 4.0, 0.0});
  run.step(b, net, 1);
  CHECK(net.weight.value.to_host(b)[0] == doctest::Approx(-3.0 / 5.000001).epsilon(1e-12));
  CHECK(net.weight.value.to_host(b)[1] == doctest::Approx(-4.0 / 5.000001).epsilon(1e-12));

  auto small = single(b, {0.0, 0.0, 0.0});
  auto unclipped = Sgd{.momentum = 0, .weight_decay = 0}.over(b, small, {.clip_norm = 1.0});
  unclipped.set_mask(b, small, without("weight", {3}, {2}));
  give_gradient(b, small.weight, {0.5, 0.0, 1e6});
  unclipped.step(b, small, 1);
  CHECK(small.weight.value.to_host(b) == std::vector<double>{-0.5, 0.0, 0.0});
}

TEST_CASE("after the first step an optimiser takes no more memory from the device") {
  Reference b;
  auto net = small_net(b);
  auto run = optimizer_run(Adam{}, b, net, {.clip_norm = 1.0});
  add_gradients(b, net);
  run.step(b, net, 0.01);
  add_gradients(b, net);
  const auto before = b.pool().system_allocations();
  run.step(b, net, 0.01);
  CHECK(b.pool().system_allocations() == before);
}

TEST_CASE("the square root that vectorises is within two units in the last place, from zero over subnormals to the largest number") {
  double worst = 0;
  for (std::uint32_t bits = 1; bits < 0x7F000000u; bits += 1013) {
    const float v = std::bit_cast<float>(bits);
    const double exact = std::sqrt(static_cast<double>(v));
    worst = std::max(worst, std::abs(static_cast<double>(detail::positive_sqrt(v)) - exact) / exact);
  }
  MESSAGE("worst relative error ", worst);
  CHECK(worst < 2 * 0x1p-23);
  CHECK(detail::positive_sqrt(0.0f) == 0);
  CHECK(std::isnan(detail::positive_sqrt(std::numeric_limits<float>::quiet_NaN())));
  CHECK_FALSE(detail::positive_sqrt(std::numeric_limits<float>::infinity()) == 0);
}

TEST_CASE("policies out of range are refused at the door with field, value and range") {
  Reference b;
  auto net = small_net(b);
  CHECK_THROWS_WITH_AS((Sgd{.momentum = 1}.over(b, net)), "Sgd: found momentum = 1, needed 0 <= momentum < 1; correct the policy", PolicyError);
  CHECK_THROWS_AS((Sgd{.weight_decay = -1}.over(b, net)), PolicyError);
  CHECK_THROWS_AS((Sgd{.momentum = 0, .nesterov = true}.over(b, net)), PolicyError);
  CHECK_THROWS_WITH_AS((Adam{.beta2 = 1}.over(b, net)), doctest::Contains("beta2 = 1"), PolicyError);
  CHECK_THROWS_AS((Adam{.eps = 0}.over(b, net)), PolicyError);
  CHECK_THROWS_AS((AdamW{.weight_decay = std::nan("")}.over(b, net)), PolicyError);
  CHECK_THROWS_WITH_AS((Sgd{}.over(b, net, {.clip_norm = 0})), doctest::Contains("clip_norm = 0"), PolicyError);
}

TEST_CASE("optimiser policies compare by value and print as they are written") {
  CHECK(Sgd{} == Sgd{.momentum = 0.9});
  CHECK(Sgd{} != Sgd{.nesterov = true});
  CHECK(str(Sgd{}) == "Sgd{.momentum = 0.9, .nesterov = false, .weight_decay = 1e-04}");
  CHECK(str(Adam{}) == "Adam{.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-08, .weight_decay = 0}");
  CHECK(str(AdamW{}) == "AdamW{.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-08, .weight_decay = 0.01}");
}

}  // namespace optimizer_test
