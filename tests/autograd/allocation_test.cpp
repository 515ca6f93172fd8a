// SPDX-License-Identifier: Apache-2.0
// A warm training step allocates nothing: neither from the backend's pool nor by operator new, which
// this program replaces to count.
#include <doctest/doctest.h>

#include <cstdlib>
#include <new>
#include <vector>

#include <espalier/backend/reference.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/op/pool.hpp>

namespace {

long news = 0;

void* counted(std::size_t bytes, std::size_t alignment) noexcept {
  ++news;
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}
void* counted_or_throw(std::size_t bytes, std::size_t alignment) {
  void* p = counted(bytes > 0 ? bytes : 1, alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t n) { return counted_or_throw(n, 16); }
[[gnu::noinline]] void* operator new[](std::size_t n) { return counted_or_throw(n, 16); }
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a) { return counted_or_throw(n, static_cast<std::size_t>(a)); }
[[gnu::noinline]] void* operator new[](std::size_t n, std::align_val_t a) { return counted_or_throw(n, static_cast<std::size_t>(a)); }
[[gnu::noinline]] void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return counted(n, 16); }
[[gnu::noinline]] void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept { return counted(n, static_cast<std::size_t>(a)); }
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

using namespace espalier;

namespace {

struct Net {
  Conv2d<Reference> conv;
  BatchNorm<Reference> norm;
  Dropout dropout{0.2};
  Linear<Reference> head;

  Net(Reference& b, Rng& rng) : conv(b, 2, 4, {.bias = Bias::zeros}, rng), norm(b, 4), head(b, 4 * 3 * 3, 5, {}, rng) {}
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv", self.conv);
    visit("norm", self.norm);
    visit("head", self.head);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = espalier::forward(ctx, self.norm, espalier::forward(ctx, self.conv, x), Activation::relu);
    h = espalier::forward(ctx, self.dropout, ctx.apply(op::MaxPool{}, h));
    return espalier::forward(ctx, self.head, ctx.apply(op::Flatten{}, h));
  }
};

struct Descend {
  float rate;
  void operator()(Index, float& w, const float& g) const { w -= rate * g; }
};

}  // namespace

TEST_CASE("operator new is counted") {
  const long before = news;
  ::operator delete(::operator new(100));
  CHECK(news == before + 1);
}

TEST_CASE("a warm training step asks neither the pool nor operator new for memory") {
  Reference b;
  Rng rng(1);
  Net net(b, rng);
  std::vector<float> pixels(4 * 6 * 6 * 2);
  for (float& p : pixels) p = rng.normal();
  const std::vector<std::int32_t> classes{0, 3, 1, 4};
  Tape<Reference> tape(b);
  float last = 0;
  // Parameters are listed once: paths are strings, and strings may allocate.
  std::vector<Parameter<Reference>*> parameters;
  for_each_parameter(net, [&](const std::string&, auto& p) { parameters.push_back(&p); });
  const auto step = [&] {
    tape.clear();
    const auto labels = Ids<Reference>::from(b, {4}, classes);
    const auto loss = tape.apply(op::CrossEntropy<Reference>{&labels}, forward(tape, net, tape.input(Tensor<Reference>::from(b, {4, 6, 6, 2}, pixels))));
    tape.backward(loss);
    last = loss.value().item(b);
    for (auto* p : parameters) {
      b.each(p->value.count(), Descend{0.1f}, p->value.data(), std::as_const(p->gradient).data());
      p->has_gradient = false;
    }
  };
  step();
  const float first = last;
  step();
  const long news_before = news;
  const std::size_t system_before = b.pool().system_allocations();
  for (int i = 0; i < 20; ++i) step();
  CHECK(news == news_before);
  CHECK(b.pool().system_allocations() == system_before);
  CHECK(last < first);  // it did train
}
