// SPDX-License-Identifier: Apache-2.0
// The same as cpu.hpp for programs with tickets; compiled in common/cpu_tickets.cpp.
#pragma once

#include <espalier/io/ticket.hpp>
#include <espalier/nn/compiled.hpp>
#include <espalier/prune/structured_ticket.hpp>

#include "cpu.hpp"
#include "points.hpp"

#ifndef EXAMPLES_TICKET_INSTANCE
#define EXAMPLES_TICKET_INSTANCE extern template
#endif

namespace examples {

EXAMPLES_TICKET_INSTANCE esp::Tensor<esp::EigenCpu> CpuNet::forward(const CpuNet&, esp::CompiledEval<esp::EigenCpu>&, const esp::Tensor<esp::EigenCpu>&);
EXAMPLES_TICKET_INSTANCE std::string fingerprint(esp::EigenCpu&, const CpuNet&);

}  // namespace examples

namespace espalier {

EXAMPLES_TICKET_INSTANCE TrainedTicket<CpuNet> train_ticket(EigenCpu&, const Ticket<CpuNet>&, const data::ImageSet&, TrainOptions<Sgd, MultiStep>, std::optional<Index>, NoTicketObserver&&, const StopSignal&);
EXAMPLES_TICKET_INSTANCE WithoutDead<CpuNet> remove_dead(EigenCpu&, const CpuNet&, const Shape&, const Mask&);
EXAMPLES_TICKET_INSTANCE TicketWithoutDead<CpuNet> remove_dead(EigenCpu&, const Ticket<CpuNet>&, const Shape&);
EXAMPLES_TICKET_INSTANCE LoadedTicket<CpuNet> load_ticket(EigenCpu&, const CpuNet&, const std::string&);
EXAMPLES_TICKET_INSTANCE void save_ticket(EigenCpu&, const Ticket<CpuNet>&, const std::string&, const Metadata&);

}  // namespace espalier
