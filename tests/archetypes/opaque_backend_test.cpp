// SPDX-License-Identifier: Apache-2.0
// Everything that runs on a backend runs on the archetype, whose memory the host cannot read, and gives
// the reference's bits: nothing reads fresh memory, frees too early, or follows a pointer.
#include <doctest/doctest.h>

#include "archetypes/op.hpp"
#include "archetypes/opaque_backend.hpp"
#include "conformance/backend.hpp"
#include "conformance/ops.hpp"

using namespace espalier;
using namespace espalier::test;

namespace {

using Opaque = OpaqueBackend<float>;

template <class P> concept Followable = requires(P p) { *p; } || requires(P p) { p[0]; } || requires(P p) { p.operator->(); };
static_assert(Followable<float*>);
static_assert(!Followable<Opaque::Pointer<float>>);
static_assert(!std::is_convertible_v<Opaque::Pointer<const float>, Opaque::Pointer<float>>);
static_assert(!std::is_convertible_v<Opaque::Pointer<float>, const float*>);
static_assert(std::is_trivially_copyable_v<Opaque::Pointer<float>>);

}  // namespace

TEST_CASE("the archetype conforms, with the reference's bits") {
  Opaque opaque;
  Reference reference;
  backend_conformance(opaque);
  same_bits<memory_records>(reference, opaque);
  same_bits<norm_records>(reference, opaque);
  same_bits<pool_records>(reference, opaque);
}

TEST_CASE("every op runs on the archetype, forward and backward without waiting for it, and gives the reference's bits") {
  Opaque opaque;
  Reference reference;
  same_bits<op_records>(reference, opaque);
  CHECK(opaque.live_blocks() == 0);
}

TEST_CASE("the archetype notices what a device would not forgive") {
  Opaque b;
  auto t = Tensor<Opaque>::empty(b, {4});
  CHECK(std::isnan(t.to_host(b)[0]));  // fresh memory is not zero
  CHECK_THROWS_WITH_AS(b.fill(t.data() + 2, 3, 0.0f), doctest::Contains("elements 2 to 5 of a block of 4"), BackendError);
  const auto stale = t.data();
  t = {};
  CHECK_THROWS_WITH_AS(b.fill(stale, 1, 0.0f), doctest::Contains("after it was freed"), BackendError);
  CHECK_THROWS_AS(b.fill(Opaque::Pointer<float>{}, 1, 0.0f), BackendError);
}

TEST_CASE("kernels of the archetype run late, in order, and see memory as it was when they were called") {
  Opaque b;
  auto t = Tensor<Opaque>::full(b, {2}, 1);
  const auto copy = t;
  b.fill(t.data(), 2, 5.0f);
  t = Tensor<Opaque>::full(b, {2}, 7);
  CHECK(copy.to_host(b) == std::vector<float>{1, 1});
  CHECK(t.to_host(b) == std::vector<float>{7, 7});
}

TEST_CASE("the least op is enough for a tape, on every backend") {
  static_assert(DifferentiableOp<LeastOp, Opaque>);
  static_assert(DifferentiableOp<LeastOp, BasicReference<double>>);
  Opaque b;
  Tape<Opaque> tape(b);
  const auto x = tape.variable(Tensor<Opaque>::full(b, {1}, 3));
  const auto y = tape.apply(LeastOp(2), x);
  tape.backward(y);
  CHECK(y.value().item(b) == 6);
  CHECK(x.gradient().item(b) == 2);
}
