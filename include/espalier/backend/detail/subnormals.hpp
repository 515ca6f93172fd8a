// SPDX-License-Identifier: Apache-2.0
// Results too small for a normal float. Training makes them without end (Adam's first moment of a weight whose
// gradient stays zero shrinks by a tenth a step), and x86 processors take some 150 cycles for each.
#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace espalier {

/// What becomes of a result that is below the smallest normal float (1.2e-38) and not zero: zero, or what IEEE 754's
/// gradual underflow says, slowly. Inputs are read as they are in either case, whatever mode the calling thread is in. On
/// processors other than x86, which are not slowed down, the processor's mode stays as it is: subnormals are kept.
enum class Subnormals { flush, keep };

namespace detail {

#if defined(__SSE__)
inline constexpr bool can_flush_subnormals = true;
#else
inline constexpr bool can_flush_subnormals = false;
#endif

/// Sets the calling thread's mode while it lives, and restores what was before; exceptions raised meanwhile stay raised.
class SubnormalScope {
 public:
  explicit SubnormalScope([[maybe_unused]] Subnormals wanted) {
#if defined(__SSE__)
    before_ = _mm_getcsr();
    const unsigned mode = (before_ & ~(flush_results | flush_inputs)) | (wanted == Subnormals::flush ? flush_results : 0);
    changed_ = mode != before_;
    if (changed_) set(mode);
#endif
  }
  SubnormalScope(const SubnormalScope&) = delete;
  SubnormalScope& operator=(const SubnormalScope&) = delete;
  ~SubnormalScope() {
#if defined(__SSE__)
    if (changed_) set((before_ & ~raised) | (_mm_getcsr() & raised));
#endif
  }

#if defined(__SSE__)
 private:
  static constexpr unsigned flush_results = 0x8000, flush_inputs = 0x0040, raised = 0x003f;  // bits of MXCSR
  // Compilers do not know that arithmetic depends on the mode, but they keep loads and stores on their side of this.
  static void set(unsigned mode) {
    asm volatile("" ::: "memory");
    _mm_setcsr(mode);
    asm volatile("" ::: "memory");
  }
  unsigned before_ = 0;
  bool changed_ = false;
#endif
};

}  // namespace detail
}  // namespace espalier
