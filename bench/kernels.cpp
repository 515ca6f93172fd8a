// SPDX-License-Identifier: Apache-2.0
// Products and convolutions of the networks that are trained here, with plain Eigen as the rival.
//   kernels [--threads N] [--json] [--quick]
#include "harness.hpp"

#include <espalier/tensor/tensor.hpp>
#include <espalier/tensor/rng.hpp>

namespace {

using Device = espalier::EigenCpu;

espalier::Tensor<Device> noise(Device& device, espalier::Index count) {
  espalier::Rng rng(1);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = rng.normal();
  return espalier::Tensor<Device>::from(device, {count}, values);
}

}  // namespace

int main(int argc, char** argv) {
  namespace esp = espalier;
  const bench::Arguments arguments(argc, argv);
  Device device({.threads = arguments.threads});
  bench::Suite suite("products and convolutions", arguments);

  struct Product { const char* name; esp::Index m, n, k; };
  for (const Product p : {Product{"product 2048^3", 2048, 2048, 2048}, {"LeNet layer 1, batch 60", 60, 300, 784}, {"LeNet layer 2, batch 60", 60, 100, 300}, {"BERT ffn, 1024 tokens", 1024, 3072, 768}}) {
    const auto a = noise(device, p.m * p.k), b = noise(device, p.k * p.n);
    auto c = noise(device, p.m * p.n);
    const double flops = 2.0 * static_cast<double>(p.m * p.n * p.k);
    suite.run(p.name, flops, [&] { device.gemm({.m = p.m, .n = p.n, .k = p.k, .lda = p.k, .ldb = p.n, .ldc = p.n}, a.data(), b.data(), c.data(), esp::Store::assign); });
    using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const Matrix> ea(a.data(), p.m, p.k), eb(b.data(), p.k, p.n);
    Eigen::Map<Matrix> ec(c.data(), p.m, p.n);
    suite.run(esp::str("  Eigen, 1 thread"), flops, [&] { ec.noalias() = ea * eb; });
  }
  struct Layer { const char* name; esp::Index side, in, out, n; };
  for (const Layer l : {Layer{"3x3 3->64 @32, batch 128", 32, 3, 64, 128}, {"3x3 64->64 @32, batch 128", 32, 64, 64, 128}, {"3x3 128->128 @16, batch 128", 16, 128, 128, 128},
                        {"3x3 256->256 @8, batch 128", 8, 256, 256, 128}, {"3x3 512->512 @4, batch 128", 4, 512, 512, 128}, {"3x3 512->512 @2, batch 128", 2, 512, 512, 128},
                        {"3x3 16->16 @32, batch 128", 32, 16, 16, 128}, {"3x3 32->32 @16, batch 128", 16, 32, 32, 128}, {"3x3 64->64 @8, batch 128", 8, 64, 64, 128}}) {
    const esp::ConvShape s{.n = l.n, .h = l.side, .w = l.side, .in = l.in, .out = l.out, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1};
    const auto x = noise(device, s.n * s.h * s.w * s.in), w = noise(device, s.weight_count()), dy = noise(device, s.n * s.h * s.w * s.out);
    auto y = noise(device, dy.count()), dx = noise(device, x.count()), dw = noise(device, w.count());
    const double flops = 2.0 * static_cast<double>(s.multiply_adds());
    suite.run(l.name, flops, [&] { device.conv_forward(s, x.data(), w.data(), y.data()); });
    if (l.in > 3) suite.run("  gradient of the input", flops, [&] { device.conv_backward_input(s, dy.data(), w.data(), dx.data(), esp::Store::assign); });
    suite.run("  gradient of the weights", flops, [&] { device.conv_backward_weights(s, x.data(), dy.data(), dw.data(), esp::Store::assign); });
  }
  suite.print(arguments.json);
}
