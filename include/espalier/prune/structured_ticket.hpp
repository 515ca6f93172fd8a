// SPDX-License-Identifier: Apache-2.0
// Tickets that are small for real: a snapshot or a ticket cut down to what a plan keeps, and an unstructured
// ticket without its dead channels. The weights are the old ones and so is the place of the run.
#pragma once

#include <utility>

#include <espalier/prune/apply.hpp>
#include <espalier/prune/dead_channels.hpp>
#include <espalier/prune/rewind.hpp>
#include <espalier/prune/ticket.hpp>

namespace espalier {

/// A structured ticket: the weights of a snapshot, cut down to what a plan keeps. It is a small dense network that
/// trains from its old initialisation, smaller and faster for real; its mask is whole, and the plan is its round 1.
/// Throws PlanError if the plan does not fit.
template <Backend B, Module M>
Ticket<M> structured_ticket(B& b, const Snapshot<M>& saved, const Plan& plan, Index until) {
  Ticket<M> ticket{.weights = shrink(b, saved.net, plan), .at = saved.at, .until = until, .round = 1, .policy = plan.policy};
  ticket.mask = Mask::ones(ticket.weights);
  ticket.survivors = {Mask::ones(saved.net).survivors(), ticket.mask.survivors()};
  return ticket;
}

/// The ticket cut down to what a plan keeps: weights, those of dead places too, and mask lose the same channels. Place,
/// end, round and policy are the ticket's, so that the rounds it has not had can go on from it; the last entry of its
/// history becomes the number of weights that live now.
/// Law     it starts from shrink(b, ticket.start(b), plan), bit for bit.
/// Throws PlanError if the plan does not fit, StaleState if the mask does not.
template <Backend B, Module M>
Ticket<M> structured_ticket(B& b, const Ticket<M>& ticket, const Plan& plan) {
  Ticket<M> small{.weights = shrink(b, ticket.weights, plan), .mask = shrink_mask<B>(ticket.weights, ticket.mask, plan), .at = ticket.at, .until = ticket.until,
                  .round = ticket.round, .policy = ticket.policy, .survivors = ticket.survivors};
  if (!small.mask.empty() && !small.survivors.empty()) small.survivors.back() = small.mask.survivors();
  return small;
}

/// A ticket without its dead channels, and what went.
template <class M>
struct TicketWithoutDead {
  Ticket<M> ticket;
  DeadChannels found;
};

/// Removes the dead channels of a ticket, as structured_ticket() removes those of a plan; constants go into biases
/// and running means first. `input` is the shape of one input, batch 1.
///
/// Law     In evaluation mode its start computes what the ticket's does, up to rounding. Survivors keep their bits, biases and
///         running means that took a constant apart.
///
/// Law     If all that goes is `unread`, training it is training the ticket: in every step the same loss, the same surviving
///         weights, biases and statistics. What nobody reads gets the gradient 0 and sends 0 back, data order and schedule do
///         not know of widths, and an optimiser moves each weight by its own gradient. Bit for bit where sums run in order,
///         as on Reference; up to rounding where a backend groups them, and under a clipped norm, which sums over other
///         tensors. A dropout behind a layer that was cut draws by position, so it drops others.
///
///         `zero` is as good where a ReLU makes the zero of a bias that is exactly 0: its gradient is 0 too. Such are all
///         constants of Frankle & Carbin's networks, rewound to step 0. Otherwise a constant is one at the start only: in
///         the ticket the bias that made it, or a live weight of value 0 that reads it, can learn or decay, and here it is gone.
/// Throws StaleState if the mask does not fit the network.
template <Backend B, Module M>
TicketWithoutDead<M> remove_dead(B& b, const Ticket<M>& ticket, const Shape& input) {
  DeadChannels found = find_dead_channels(b, ticket.weights, input, ticket.mask);
  Ticket<M> folded = ticket;  // dead weights too keep their values: a control may want another mask over them
  folded.weights = fold_constants(b, ticket.weights, found);
  return {structured_ticket(b, folded, found.plan), std::move(found)};
}

}  // namespace espalier
