// SPDX-License-Identifier: Apache-2.0
#define EXAMPLES_INSTANCE template
#include "cpu.hpp"
