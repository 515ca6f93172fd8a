// SPDX-License-Identifier: Apache-2.0
// Near misses of the concepts: each lacks one thing, and is not a model.
#include <doctest/doctest.h>

#include <espalier/nn/module.hpp>

#include "archetypes/op.hpp"
#include "archetypes/opaque_backend.hpp"

using namespace espalier;
using namespace espalier::test;

namespace {

using Opaque = OpaqueBackend<float>;
static_assert(DifferentiableOp<LeastOp, Opaque>);
static_assert(DifferentiableOp<LeastOp, Reference>);

// Hides one member of the least op behind something that does not fit.
struct NamelessOp : LeastOp { using LeastOp::LeastOp; static constexpr int name = 3; };
struct WrongShape : LeastOp { using LeastOp::LeastOp; Index shape(const Shapes&) const; };
struct MutableForward : LeastOp {
  using LeastOp::LeastOp;
  template <Backend B> Tensor<B> forward(B&, const Inputs<B>&, Saved<B>&);  // not const: an op must not change while it runs
};
struct ForwardGivesNothing : LeastOp {
  using LeastOp::LeastOp;
  template <Backend B> void forward(B&, const Inputs<B>&, Saved<B>&) const;
};
struct NoBackward : LeastOp { using LeastOp::LeastOp; void backward() = delete; };
struct NoChannels : LeastOp { using LeastOp::LeastOp; void channels() = delete; };
struct FreeOfCost : LeastOp { using LeastOp::LeastOp; double cost(const Shapes&, const Shape&) const; };
struct Unsaved : LeastOp { using LeastOp::LeastOp; using Saved = int; };
struct Uncopyable : LeastOp {
  using LeastOp::LeastOp;
  Uncopyable(const Uncopyable&) = delete;
};
static_assert(!DifferentiableOp<NamelessOp, Reference>);
static_assert(!DifferentiableOp<WrongShape, Reference>);
static_assert(!DifferentiableOp<MutableForward, Reference>);
static_assert(!DifferentiableOp<ForwardGivesNothing, Reference>);
static_assert(!DifferentiableOp<NoBackward, Reference>);
static_assert(!DifferentiableOp<NoChannels, Reference>);
static_assert(!DifferentiableOp<FreeOfCost, Reference>);
static_assert(!DifferentiableOp<Unsaved, Reference>);
static_assert(!DifferentiableOp<Uncopyable, Reference>);
static_assert(!DifferentiableOp<int, Reference>);

struct CopyableBackend : Opaque {
  CopyableBackend() = default;
  CopyableBackend(const CopyableBackend& other) : Opaque(), other_(&other) {}
  CopyableBackend& operator=(const CopyableBackend&) { return *this; }
  const CopyableBackend* other_ = nullptr;
};
struct NoProducts : Opaque { void gemm() = delete; };
struct NoConvolutionWeightsGradient : Opaque { void conv_backward_weights() = delete; };
struct NoPreparedConv : Opaque { int prepare_conv(const ConvShape&, CP); };
struct NoDownload : Opaque { void download() = delete; };
static_assert(!Backend<CopyableBackend>);
static_assert(!Backend<NoProducts>);
static_assert(!Backend<NoConvolutionWeightsGradient>);
static_assert(!Backend<NoPreparedConv>);
static_assert(!Backend<NoDownload>);
static_assert(!Backend<float>);

struct Member {
  Parameter<Opaque> weight;
  template <class Self, class Visit> static void members(Self& self, Visit&& visit) { visit("weight", self.weight); }
};
struct Memberless {};
static_assert(Module<Member>);
static_assert(!Module<Memberless>);
static_assert(!Module<int>);

}  // namespace

TEST_CASE("the least module lists what it holds") {
  Opaque b;
  Member m;
  m.weight = Parameter<Opaque>(Tensor<Opaque>::zeros(b, {2, 3}), Layout::linear);
  CHECK(parameter_count(m) == 6);
}
