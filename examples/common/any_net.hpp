// SPDX-License-Identifier: Apache-2.0
// A network whose architecture the command line names. A module may hold a variant of others, so this is one itself:
// the experiments are compiled once, not once for each architecture.
#pragma once

#include <string>
#include <type_traits>
#include <variant>

#include <espalier/models/convnet.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/models/vgg.hpp>

#include "options.hpp"

namespace examples {

namespace esp = espalier;

template <esp::Backend B>
struct AnyNet {
  std::variant<esp::models::Vgg<B>, esp::models::ResNetCifar<B>, esp::models::Mlp<B>, esp::models::ConvNet<B>> net;

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("", self.net);  // its members keep the names that they have alone
  }
  /// x [N, H, W, C] -> logits [N, 10].
  template <class Self, class Context>
  static typename Context::Value forward(Self& self, Context& ctx, const typename Context::Value& x);
};

template <esp::Backend B>
template <class Self, class Context>
typename Context::Value AnyNet<B>::forward(Self& self, Context& ctx, const typename Context::Value& x) {
  return std::visit([&](auto& net) { return std::remove_cvref_t<decltype(net)>::forward(net, ctx, x); }, self.net);
}

/// A VGG for 28x28 images that trains in a minute: five convolutions in three stages, batch norm.
inline esp::models::VggConfig small_vgg(esp::Index in) {
  return {.stages = {{32}, {64, 64}, {128, 128}}, .head = esp::models::VggHead::linear, .in = in, .gamma = esp::Init::ones};
}

/// A freshly initialised network of the architecture that --arch names, for images of this shape.
template <esp::Backend B>
AnyNet<B> make_net(B& device, const Options& o, const esp::Shape& image, const esp::Rng& rng) {
  namespace models = esp::models;
  const std::string& arch = o.arch;
  if (arch.starts_with("resnet")) {
    models::ResNetConfig config{.depth = std::stoi(arch.substr(6)), .in = image.channels()};
    if (o.shortcut == "pad-after") config.shortcut = models::ShortcutA::pad_after;
    return {models::ResNetCifar<B>(device, config, rng)};
  }
  if (arch == "lenet300" || arch == "lenet-300-100") return {models::Mlp<B>(device, {image.count(), 300, 100, 10}, rng)};
  if (arch.starts_with("conv-") || arch == "lenet-5") {
    models::ConvNetConfig config = arch == "conv-2" ? models::conv_2 : arch == "conv-4" ? models::conv_4 : arch == "conv-6" ? models::conv_6 : models::lenet_5;
    config.image = image[1];
    config.in = image.channels();
    return {models::ConvNet<B>(device, config, rng)};
  }
  models::VggConfig config = arch == "vgg11" ? models::vgg11 : arch == "vgg13" ? models::vgg13 : arch == "vgg19" ? models::vgg19 : models::vgg16;
  if (arch == "small-vgg") config = small_vgg(image.channels());
  config.in = image.channels();
  return {models::Vgg<B>(device, config, rng)};
}

}  // namespace examples
