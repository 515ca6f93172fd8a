// SPDX-License-Identifier: Apache-2.0
// A network's tensors as entries of a safetensors file, and back. Widths come from the file: what must
// agree is which tensors there are, their ranks and everything about a shape that pruning cannot change.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/io/json.hpp>
#include <espalier/io/safetensors.hpp>
#include <espalier/io/safetensors_write.hpp>
#include <espalier/nn/module.hpp>

namespace espalier::detail {

/// Adds parameters and buffers as F32 under the prefixes, and returns the extents as a JSON object.
template <class Writer, Backend B, Module M>
Json add_members(Writer& writer, B& b, const M& net, std::string_view parameter_prefix, std::string_view buffer_prefix) {
  Json extents = Json::object();
  detail::for_each_listed(net, [&](const std::string& path, const auto& member) {
    using Member = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::is_same_v<Member, Extent>) {
      extents[path] = Json(member.value);
    } else {
      const HostTensor host = to_host(b, member);
      writer.add(str(is_parameter<Member> ? parameter_prefix : buffer_prefix, path), host.shape.extents(), std::span<const float>(host.values));
    }
  });
  return extents;
}

/// The differences between the tensors of a file and those of a network.
struct Misfit {
  std::vector<std::string> missing, unexpected, wrong;

  bool any() const { return !missing.empty() || !unexpected.empty() || !wrong.empty(); }
  std::string text() const {
    std::string out;
    list(out, "missing from the file", missing);
    list(out, "in the file but not in the network", unexpected);
    list(out, "of the wrong shape or type", wrong);
    return out;
  }

 private:
  static void list(std::string& out, std::string_view title, const std::vector<std::string>& names) {
    constexpr std::size_t shown = 8;
    if (names.empty()) return;
    out += str(out.empty() ? "" : "; ", names.size(), ' ', title, ": ");
    for (std::size_t i = 0; i < std::min(shown, names.size()); ++i) out += str(i > 0 ? ", " : "", names[i]);
    if (names.size() > shown) out += str(", and ", names.size() - shown, " more");
  }
};

/// The tensors of a file by the names that the network is to find them under.
using NamedEntries = std::vector<std::pair<std::string, const TensorEntry*>>;  // sorted by name

inline const TensorEntry* find_entry(const NamedEntries& entries, std::string_view name) {
  const auto at = std::lower_bound(entries.begin(), entries.end(), name, [](const auto& entry, std::string_view n) { return entry.first < n; });
  return at != entries.end() && at->first == name ? at->second : nullptr;
}

/// What is wrong with an entry for a tensor of this outside shape, or nothing. Axes that are widths are
/// free: all but the kernel extents of a convolution.
inline std::string shape_complaint(const TensorEntry& entry, const Shape& wanted, Layout layout) {
  if (entry.dtype != Dtype::f32 && entry.dtype != Dtype::f16 && entry.dtype != Dtype::bf16 && entry.dtype != Dtype::f64)
    return str("holds ", dtype_name(entry.dtype), ", needed floating numbers");
  const auto rank = static_cast<std::size_t>(wanted.rank());
  std::string found = "[";
  for (const auto d : entry.shape) found += str(found.size() > 1 ? ", " : "", d);
  found += ']';
  bool fits = entry.shape.size() == rank;
  for (std::size_t axis = 0; fits && axis < rank; ++axis) {
    const bool kernel = layout == Layout::convolution && axis >= 2;
    fits = kernel ? entry.shape[axis] == wanted[static_cast<int>(axis)] : entry.shape[axis] > 0;
  }
  return fits ? std::string() : str("is ", found, ", needed ", wanted, " or other widths of that form");
}

/// A copy of the network with the values, widths and extents of the file. The network is untouched.
/// Throws DataError listing every difference.
template <Backend B, Module M>
M with_members(B& b, const M& net, const SafetensorsFile& file, const NamedEntries& entries, const Json* extents,
               std::string_view parameter_prefix, std::string_view buffer_prefix) {
  Misfit misfit;
  M loaded = net;
  std::vector<std::string> known, known_extents;
  detail::for_each_listed(loaded, [&](const std::string& path, auto& member) {
    using Member = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::is_same_v<Member, Extent>) {
      known_extents.push_back(path);
      if (extents == nullptr) return;
      const Json* value = extents->find(path);
      if (value == nullptr) misfit.missing.push_back(str("extent '", path, "'"));
      else if (!value->is_integer() || value->as_int() < 0) misfit.wrong.push_back(str("extent '", path, "' is ", value->dump(), ", needed a count"));
      else member.value = value->as_int();
    } else {
      Layout layout = Layout::plain;
      if constexpr (is_parameter<Member>) layout = member.layout;
      const std::string name = str(is_parameter<Member> ? parameter_prefix : buffer_prefix, path);
      known.push_back(name);
      const TensorEntry* entry = find_entry(entries, name);
      if (entry == nullptr) return misfit.missing.push_back(str("'", name, "'"));
      const std::string complaint = shape_complaint(*entry, outside(member.value.shape(), layout), layout);
      if (!complaint.empty()) return misfit.wrong.push_back(str("'", name, "' ", complaint));
      if (misfit.any()) return;  // nothing will come of it: do not copy
      const std::vector<Index> shape(entry->shape.begin(), entry->shape.end());
      member.value = from_host(b, HostTensor{Shape(std::span<const Index>(shape)), file.floats(entry->name)}, layout);
      if constexpr (is_parameter<Member>) {
        member.gradient = {};
        member.has_gradient = false;
      }
    }
  });
  std::sort(known.begin(), known.end());
  for (const auto& [name, entry] : entries)
    if (!std::binary_search(known.begin(), known.end(), name)) misfit.unexpected.push_back(str("'", name, "'"));
  if (extents != nullptr)
    for (const auto& [path, value] : extents->members())
      if (std::find(known_extents.begin(), known_extents.end(), path) == known_extents.end()) misfit.unexpected.push_back(str("extent '", path, "'"));
  if (misfit.any()) throw DataError(str(file.where(), ": does not fit this network: ", misfit.text(), ". Is it of another architecture?"));
  return loaded;
}

}  // namespace espalier::detail
