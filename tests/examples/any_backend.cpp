// SPDX-License-Identifier: Apache-2.0
// The examples' algorithms with a backend that has what the concept asks for and no more, and whose namespace is not the
// library's. any_backend.py compiles this; nothing runs.
#include "archetypes/opaque_backend.hpp"

#include "../../examples/custom_criterion/algorithm.hpp"
#include "../../examples/demo/algorithm.hpp"
#include "../../examples/evaluate/algorithm.hpp"
#include "../../examples/filter_pruning/algorithm.hpp"
#include "../../examples/global_magnitude/algorithm.hpp"
#include "../../examples/lottery_ticket/algorithm.hpp"
#include "../../examples/rethinking/algorithm.hpp"
#include "../../examples/sensitivity/algorithm.hpp"

namespace examples {

using Opaque = esp::test::OpaqueBackend<float>;
template esp::ExitCode custom_criterion(Opaque&, const Options&);
template esp::ExitCode demo(Opaque&, const Options&);
template esp::ExitCode evaluate(Opaque&, const Options&);
template esp::ExitCode filter_pruning(Opaque&, const Options&);
template esp::ExitCode global_magnitude(const Options&, Opaque (*)(int));
template esp::ExitCode lottery_ticket(const Options&, Opaque (*)(int));
template esp::ExitCode rethinking(Opaque&, const Options&);
template esp::ExitCode sensitivity(const Options&, Opaque (*)(int));

}  // namespace examples
