// SPDX-License-Identifier: Apache-2.0
// The backend of the programs' cpu.cpp, and what most of them do with it: declared here, so that it is compiled once, in
// common/cpu.cpp, and not once for each program. That is an offer to the compiler and nothing else: with
// <espalier/backend/eigen_cpu.hpp> in its place a program is the same, and takes longer to compile: filter_pruning 87 seconds instead of 25.
#pragma once

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/espalier.hpp>
#include <espalier/io/weights.hpp>
#include <espalier/report/network.hpp>

#include "any_net.hpp"
#include "result.hpp"
#include "session.hpp"

#ifndef EXAMPLES_INSTANCE  // common/cpu.cpp defines it as `template`, which compiles what follows
#define EXAMPLES_INSTANCE extern template
#endif

namespace examples {

using CpuNet = AnyNet<esp::EigenCpu>;
EXAMPLES_INSTANCE esp::Var<esp::EigenCpu> CpuNet::forward(CpuNet&, esp::Tape<esp::EigenCpu>&, const esp::Var<esp::EigenCpu>&);
EXAMPLES_INSTANCE esp::Tensor<esp::EigenCpu> CpuNet::forward(const CpuNet&, esp::Eval<esp::EigenCpu>&, const esp::Tensor<esp::EigenCpu>&);
EXAMPLES_INSTANCE CpuNet make_net(esp::EigenCpu&, const Options&, const esp::Shape&, const esp::Rng&);
EXAMPLES_INSTANCE Trained Session::train(esp::EigenCpu&, CpuNet&, const std::string&, const Images&, const Recipe&);
EXAMPLES_INSTANCE esp::Index Session::save(esp::EigenCpu&, const CpuNet&, const std::string&, const esp::Metadata&);
EXAMPLES_INSTANCE Latencies measured(esp::EigenCpu&, const CpuNet&, const esp::Shape&);

}  // namespace examples

namespace espalier {

using examples::CpuNet;
EXAMPLES_INSTANCE TrainResult train(EigenCpu&, CpuNet&, const data::ImageSet&, const TrainOptions<Sgd, MultiStep>&, NoObserver&&, NoCheckpoints&&, const StopSignal&);
EXAMPLES_INSTANCE Evaluation evaluate(EigenCpu&, const CpuNet&, const data::ImageSet&, const data::Normalise&, Index);
EXAMPLES_INSTANCE NetworkCost cost<EigenCpu>(const CpuNet&, const Shape&);
EXAMPLES_INSTANCE LatencyStats latency(EigenCpu&, const CpuNet&, const Shape&, const LatencyOptions&);
EXAMPLES_INSTANCE std::vector<NotFaster> layers_not_faster(EigenCpu&, const CpuNet&, const CpuNet&, const Shape&, const LatencyOptions&, SteadySeconds&&);
EXAMPLES_INSTANCE Plan plan(EigenCpu&, const CpuNet&, const Shape&, const FilterL1&);
EXAMPLES_INSTANCE CpuNet shrink(EigenCpu&, const CpuNet&, const Plan&);
EXAMPLES_INSTANCE LoadedWeights load_weights(EigenCpu&, CpuNet&, const std::string&, const std::optional<Shape>&);
EXAMPLES_INSTANCE void save_weights(EigenCpu&, const CpuNet&, const std::string&, const Metadata&);

}  // namespace espalier
