// SPDX-License-Identifier: Apache-2.0
// Version and compiler facts. The only file of the library that says __CUDACC__.
#pragma once

#define ESPALIER_VERSION_MAJOR 0
#define ESPALIER_VERSION_MINOR 1
#define ESPALIER_VERSION_PATCH 0
#define ESPALIER_VERSION "0.1.0"

/// Marks a call operator that both the host and a CUDA device may call.
#if defined(__CUDACC__)
#define ESPALIER_HD __host__ __device__
#define ESPALIER_NVCC 1  // nvcc reads this, and cannot all of C++20
#else
#define ESPALIER_HD
#define ESPALIER_NVCC 0
#endif
