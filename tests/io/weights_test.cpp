// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>
#include <limits>
#include <string>

#include <unistd.h>

#include <espalier/backend/reference.hpp>
#include <espalier/io/weights.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/prune/apply.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>

#include "common/skip.hpp"

using namespace espalier;

namespace weights_test {

namespace {

// A file that goes away.
struct Scratch {
  std::string path = (std::filesystem::temp_directory_path() / ("espalier_weights_" + std::to_string(::getpid()) + ".safetensors")).string();
  ~Scratch() { std::filesystem::remove(path); }
};

constexpr models::ResNetConfig tiny{.depth = 8, .widths = {4, 8, 8}};

template <Backend B, Module M>
std::vector<std::pair<std::string, HostTensor>> content(B& b, const M& net) {
  std::vector<std::pair<std::string, HostTensor>> all;
  for_each_member(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { member.value.shape(); }) all.emplace_back(path, to_host(b, member));
    else all.emplace_back(path, HostTensor{{1}, {static_cast<float>(member.value)}});
  });
  return all;
}

template <Backend B, Module M>
std::string refusal(B& b, M& net, const std::string& path, const std::optional<Shape>& input = {}) {
  const auto before = content(b, net);
  try {
    load_weights(b, net, path, input);
  } catch (const DataError& e) {
    CHECK(content(b, net) == before);
    return e.what();
  }
  return "";
}

Tensor<Reference> images(Reference& b, Index n) {
  std::vector<float> x;
  for (Index i = 0; i < n * 8 * 8 * 3; ++i) x.push_back(static_cast<float>(i * 37 % 101) / 50 - 1);
  return Tensor<Reference>::from(b, {n, 8, 8, 3}, x);
}

}  // namespace

TEST_CASE("weights come back from a file bit for bit, with buffers, extents and metadata") {
  Reference b;
  Scratch file;
  models::ResNetCifar<Reference> net(b, tiny, Rng(1));
  net.bn1.running_mean.value.data()[0] = -0.0f;
  net.bn1.running_mean.value.data()[1] = 1e-42f;
  net.layers[1][0].bn1.running_var.value.data()[2] = 7.5f;
  save_weights(b, net, file.path, {{"arch", "resnet8"}});

  models::ResNetCifar<Reference> other(b, tiny, Rng(2));
  CHECK(content(b, other) != content(b, net));
  const LoadedWeights found = load_weights(b, other, file.path, Shape{1, 8, 8, 3});
  CHECK(content(b, other) == content(b, net));
  CHECK(std::signbit(other.bn1.running_mean.value.data()[0]));
  CHECK(std::find(found.metadata.begin(), found.metadata.end(), std::pair<std::string, std::string>("arch", "resnet8")) != found.metadata.end());

  const auto bytes = read_file(file.path);
  save_weights(b, other, file.path, {{"arch", "resnet8"}});
  CHECK(read_file(file.path) == bytes);
  const auto raw = SafetensorsFile::read(file.path);
  CHECK(raw.get("conv1.weight").shape == std::vector<std::int64_t>{4, 3, 3, 3});
  CHECK(raw.get("linear.weight").shape == std::vector<std::int64_t>{10, 8});
  CHECK_THROWS_WITH_AS(save_weights(b, net, file.path, {{"espalier.extents", "{}"}}), doctest::Contains("which is ours"), DataError);
}

TEST_CASE("a shrunk network's file makes a full-width network the shrunk one") {
  Reference b;
  Scratch file;
  const Shape input{1, 8, 8, 3};
  models::ResNetCifar<Reference> net(b, tiny, Rng(1));
  const auto slim = shrink(b, net, plan(b, net, input, FilterL1{.amount = Fraction{0.5}}));
  REQUIRE(parameter_count(slim) < parameter_count(net));
  save_weights(b, slim, file.path);
  models::ResNetCifar<Reference> fresh(b, tiny, Rng(9));
  load_weights(b, fresh, file.path, input);
  CHECK(content(b, fresh) == content(b, slim));
  const auto x = images(b, 2);
  CHECK(predict(b, fresh, x).to_host(b) == predict(b, slim, x).to_host(b));
}

// dlib#2059: a load that failed left the network half overwritten.
TEST_CASE("missing, unexpected and misshapen tensors are reported together, and the network is untouched") {
  Reference b;
  Scratch file;
  models::Mlp<Reference> net(b, {4, 3, 2}, Rng(1));
  SafetensorsWriter writer;
  const std::vector<float> twelve(12);
  writer.add("fc1.weight", std::vector<Index>{3, 2, 2}, twelve);
  writer.add("fc1.bias", std::vector<Index>{3}, std::vector<std::int64_t>(3));
  writer.add("fc2.weight", std::vector<Index>{2, 3}, std::vector<float>(6));
  writer.add("head.scale", std::vector<Index>{1}, std::vector<float>(1));
  writer.save(file.path);
  const std::string text = refusal(b, net, file.path);
  CHECK(text.find("1 missing from the file: 'fc2.bias'") != std::string::npos);
  CHECK(text.find("1 in the file but not in the network: 'head.scale'") != std::string::npos);
  CHECK(text.find("2 of the wrong shape or type: 'fc1.weight' is [3, 2, 2], needed [3, 4]") != std::string::npos);
  CHECK(text.find("'fc1.bias' holds I64") != std::string::npos);

  models::Mlp<Reference> deep(b, {4, 3, 3, 3, 3, 3, 3, 3, 2}, Rng(1));
  save_weights(b, net, file.path);
  CHECK(refusal(b, deep, file.path).find("12 missing from the file: 'fc3.weight', 'fc3.bias', 'fc4.weight'") != std::string::npos);
  CHECK(refusal(b, deep, file.path).find("and 4 more") != std::string::npos);
}

TEST_CASE("the kernel of a convolution is no width") {
  Reference b;
  Scratch file;
  models::ResNetCifar<Reference> net(b, tiny, Rng(1));
  auto wide = net;
  Rng rng(2);
  wide.conv1 = Conv2d<Reference>(b, 3, 4, {.kernel = 5, .pad = 2}, rng);
  save_weights(b, wide, file.path);
  CHECK(refusal(b, net, file.path).find("'conv1.weight' is [4, 3, 5, 5], needed [4, 3, 3, 3]") != std::string::npos);
}

TEST_CASE("widths that do not fit each other are found by the dry run, as a sentence") {
  Reference b;
  Scratch file;
  models::Mlp<Reference> net(b, {4, 3, 2}, Rng(1));
  SafetensorsWriter writer;
  writer.add("fc1.weight", std::vector<Index>{5, 4}, std::vector<float>(20));
  writer.add("fc1.bias", std::vector<Index>{5}, std::vector<float>(5));
  writer.add("fc2.weight", std::vector<Index>{2, 6}, std::vector<float>(12));
  writer.add("fc2.bias", std::vector<Index>{2}, std::vector<float>(2));
  writer.save(file.path);
  CHECK(refusal(b, net, file.path, Shape{1, 4}).find("do not fit each other") != std::string::npos);
  load_weights(b, net, file.path);  // nobody asked
  CHECK(net.layers[1].weight.outside_shape() == Shape{2, 6});
}

// NNI#5277: a prefix "module." made every name miss.
TEST_CASE("names may carry the wrapper's prefix, and counters are ignored") {
  Reference b;
  Scratch file;
  models::Mlp<Reference> net(b, {2, 2}, Rng(1));
  const auto write = [&](std::initializer_list<std::string_view> weights) {
    SafetensorsWriter writer;
    for (const auto name : weights) writer.add(name, std::vector<Index>{2, 2}, std::vector<float>{1, 2, 3, 4});
    writer.add("module.fc1.bias", std::vector<Index>{2}, std::vector<float>{5, 6});
    writer.add("module.bn.num_batches_tracked", std::vector<Index>{}, std::vector<std::int64_t>{7});
    writer.add("embeddings.position_ids", std::vector<Index>{1}, std::vector<std::int64_t>{0});
    writer.save(file.path);
  };
  write({"module.fc1.weight"});
  const auto found = load_weights(b, net, file.path);
  CHECK(found.ignored.size() == 2);
  CHECK(to_host(b, net.layers[0].weight).values == std::vector<float>{1, 2, 3, 4});
  write({"fc1.weight", "module.fc1.weight"});
  CHECK(refusal(b, net, file.path).find("with and without 'module.'") != std::string::npos);
}

TEST_CASE("extents that are missing, unknown or no counts are refused") {
  Reference b;
  Scratch file;
  models::ResNetCifar<Reference> net(b, tiny, Rng(1));
  const auto with_extents = [&](std::string_view text) {
    save_weights(b, net, file.path);
    auto writer = SafetensorsWriter::from(SafetensorsFile::read(file.path));
    writer.metadata("espalier.extents", text);
    writer.save(file.path);
    return refusal(b, net, file.path);
  };
  CHECK(with_extents("[1]").find("no JSON object") != std::string::npos);
  CHECK(with_extents("{}").find("extent 'layer2.0.shortcut.pad_before'") != std::string::npos);
  const std::string some = R"({"layer2.0.shortcut.pad_before":-1,"layer2.0.shortcut.pad_after":2,"other":3})";
  CHECK(with_extents(some).find("pad_before' is -1, needed a count") != std::string::npos);
  CHECK(with_extents(some).find("extent 'other'") != std::string::npos);
}

TEST_CASE("the trained ResNets load under their published names, value for value") {
  const auto folder = test::data_folder("models");
  if (!folder) return;
  Reference b;
  models::ResNetCifar<Reference> net(b, {.depth = 20}, Rng(1));
  const std::string path20 = (*folder / "resnet20-12fca82f.safetensors").string();
  load_weights(b, net, path20, Shape{1, 32, 32, 3});
  const auto raw = SafetensorsFile::read(path20);
  for_each_member(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { member.value.shape(); }) {
      const std::string name = raw.find(path) != nullptr ? path : "module." + path;
      if (to_host(b, member).values != raw.floats(name)) FAIL_CHECK(path);
    }
  });
  models::ResNetCifar<Reference> deep(b, {.depth = 56}, Rng(1));
  load_weights(b, deep, (*folder / "resnet56-4bfd9763.safetensors").string(), Shape{1, 32, 32, 3});
  CHECK(refusal(b, net, (*folder / "resnet56-4bfd9763.safetensors").string()).find("in the file but not in the network: 'layer1.3.bn1.bias'") != std::string::npos);
}

}  // namespace weights_test
