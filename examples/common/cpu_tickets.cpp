// SPDX-License-Identifier: Apache-2.0
#define EXAMPLES_TICKET_INSTANCE template
#include "cpu_tickets.hpp"
