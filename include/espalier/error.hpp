// SPDX-License-Identifier: Apache-2.0
// The exceptions of espalier. Every message has four parts: where (a path, a file and offset),
// what was found, what was needed, what to do about it.
#pragma once

#include <charconv>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace espalier {

/// The base of everything espalier throws.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Two tensors, or a tensor and a layer, do not fit.
struct ShapeError : Error { using Error::Error; };
/// A policy's field is outside its permitted range, or asks for nothing.
struct PolicyError : Error { using Error::Error; };
/// A plan does not belong to the network it is applied to.
struct PlanError : Error { using Error::Error; };
/// A layer map does not fit its teacher and student.
struct MappingError : Error { using Error::Error; };
/// A file cannot be read or written.
struct IoError : Error { using Error::Error; };
/// A file can be read, but its content is not what its format promises.
struct DataError : IoError { using IoError::IoError; };
/// Optimiser state, a mask or a snapshot belongs to a network of other shapes.
struct StaleState : Error { using Error::Error; };
/// Training produced a NaN or an infinity; the message names the first tensor that held one.
struct Diverged : Error { using Error::Error; };
/// A backend failed.
struct BackendError : Error { using Error::Error; };
/// A CUDA call failed.
struct CudaError : BackendError { using BackendError::BackendError; };
/// An allocation failed; the message says how many bytes were asked for.
struct OutOfMemory : BackendError { using BackendError::BackendError; };

namespace detail {

inline void append(std::string& out, std::string_view text) { out += text; }
inline void append(std::string& out, const char* text) { out += text; }
inline void append(std::string& out, const std::string& text) { out += text; }
inline void append(std::string& out, char c) { out += c; }
template <class N>
  requires std::is_arithmetic_v<N>
void append(std::string& out, N number) {
  if constexpr (std::is_same_v<N, bool>) {
    out += number ? "true" : "false";
  } else {
    char buffer[48];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, number).ptr;
    out.append(buffer, static_cast<std::size_t>(end - buffer));
  }
}

}  // namespace detail

/// Joins strings and numbers into one string, whatever the locale; floating numbers in their
/// shortest form that reads back to the same value.
template <class... Parts>
std::string str(const Parts&... parts) {
  using detail::append;  // types of their own bring their own `append`
  std::string out;
  (append(out, parts), ...);
  return out;
}

}  // namespace espalier
