// SPDX-License-Identifier: Apache-2.0
// Linear layers of which a share of the weights is zero: sparse against this library's dense products, plain and
// packed beforehand, and Eigen's sparse matrix. `rows` is the sparse product as a model uses it, from rows to rows;
// `panels` is its kernel alone, between activations that lie in panels already. Every layer adds a bias. Last, a 3x3
// convolution as it is computed, against the sparse product of its windows, as if those lay in panels already, and
// against a dense one of half the channels on both sides: a quarter of the weights, as structured pruning leaves them.
// A whole LeNet-300-100 runs dense and compiled.
//   sparse [--threads N] [--json] [--quick]
//   sparse --serve [--threads N]     a child of bench/pytorch/sparse.py
#include "harness.hpp"
#include "serve.hpp"

#include <Eigen/SparseCore>

#include <memory>

#include <espalier/models/mlp.hpp>
#include <espalier/nn/compiled.hpp>
#include <espalier/tensor/rng.hpp>
#include <espalier/tensor/tensor.hpp>

namespace {

namespace esp = espalier;
using Device = esp::EigenCpu;
using esp::Index;

struct Size {
  Index outputs, inputs, rows;
};

/// What the kernel alone runs on.
struct Threads {
  esp::detail::ThreadPool pool;
  esp::detail::Workspace scratch;
  explicit Threads(int count) : pool(count), scratch(count) {}
};

/// One layer with its weights in every form, an input in both layouts, and what computes it.
class Layer {
 public:
  Layer(Device& device, Threads& threads, const Size& size, double zeros) : b_(device), threads_(threads), s_(size) {
    esp::Rng rng(1);
    std::vector<float> outside(static_cast<std::size_t>(s_.outputs * s_.inputs)), inside(outside.size());
    for (Index o = 0; o < s_.outputs; ++o)
      for (Index i = 0; i < s_.inputs; ++i) {
        const float value = rng.normal(), kept = rng.uniform() < zeros ? 0.0f : value;
        outside[static_cast<std::size_t>(o * s_.inputs + i)] = inside[static_cast<std::size_t>(i * s_.outputs + o)] = kept;
      }
    std::vector<float> x(static_cast<std::size_t>(s_.rows * s_.inputs));
    for (float& v : x) v = rng.normal();
    weight_ = tensor(inside);
    bias_ = esp::Tensor<Device>::full(b_, {s_.outputs}, 0.1f);
    x_ = tensor(x);
    y_ = esp::Tensor<Device>::zeros(b_, {s_.rows * s_.outputs});
    const esp::detail::Panels in{s_.rows, s_.inputs}, out{s_.rows, s_.outputs};
    panels_x_ = esp::Tensor<Device>::zeros(b_, {in.size()});
    panels_y_ = esp::Tensor<Device>::zeros(b_, {out.size()});
    esp::detail::to_panels(threads_.pool, in, x_.data(), panels_x_.data());
    packed_ = b_.pack_weights(s_.inputs, s_.outputs, weight_.data());
    sparse_ = b_.sparse_weights(s_.outputs, s_.inputs, outside);
    eigen_sparse_ = Eigen::Map<const Matrix>(outside.data(), s_.outputs, s_.inputs).sparseView(0.0f, 0.0f);
    eigen_x_ = Eigen::Map<const Matrix>(x.data(), s_.rows, s_.inputs).transpose();
    check();
  }

  double flops() const { return 2.0 * static_cast<double>(s_.outputs * s_.inputs * s_.rows); }
  double nonzero_share() const { return static_cast<double>(sparse_.nonzeros()) / static_cast<double>(s_.outputs * s_.inputs); }

  void dense() {
    b_.gemm({.m = s_.rows, .n = s_.outputs, .k = s_.inputs, .lda = s_.inputs, .ldb = s_.outputs, .ldc = s_.outputs}, x_.data(), weight_.data(), y_.data(),
            esp::Store::assign, {.bias = bias_.data()});
  }
  void packed() { b_.packed_product(s_.rows, packed_, x_.data(), y_.data(), {.bias = bias_.data()}); }
  void panels() { product({panels_x_.data(), true}, {panels_y_.data(), true}); }
  void rows() { product({x_.data()}, {y_.data()}); }
  // Channel by channel, which Eigen computes fastest.
  void eigen() {
    eigen_y_.noalias() = eigen_sparse_ * eigen_x_;
    eigen_y_.array() += 0.1f;
  }

 private:
  using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  esp::Tensor<Device> tensor(const std::vector<float>& values) { return esp::Tensor<Device>::from(b_, {static_cast<Index>(values.size())}, values); }
  void product(esp::detail::Laid<const float> x, esp::detail::Laid<float> y) {
    esp::detail::sparse_product(threads_.pool, threads_.scratch, sparse_, s_.rows, x, y, {.bias = bias_.data()});
  }
  // What is compared computes the same.
  void check() {
    using Found = Eigen::Map<const Matrix>;
    dense();
    const Matrix expected = Found(y_.data(), s_.rows, s_.outputs);
    const auto compare = [&](const char* what, const Matrix& found) {
      if (!((found - expected).cwiseAbs().maxCoeff() < 1e-5f * expected.cwiseAbs().maxCoeff()))
        throw esp::Error(esp::str("bench/sparse: ", what, " and dense differ by more than 1e-5; one of them is wrong"));
    };
    packed();
    compare("packed", Found(y_.data(), s_.rows, s_.outputs));
    rows();
    compare("sparse", Found(y_.data(), s_.rows, s_.outputs));
    eigen();
    compare("Eigen", eigen_y_.transpose());
  }

  Device& b_;
  Threads& threads_;
  Size s_;
  esp::Tensor<Device> weight_, bias_, x_, y_, panels_x_, panels_y_;
  Device::PackedWeights packed_;
  Device::SparseWeights sparse_;
  Eigen::SparseMatrix<float, Eigen::RowMajor> eigen_sparse_;
  Matrix eigen_x_, eigen_y_;
};

/// A 3x3 convolution of sixteen 8x8 maps, dense.
class Convolution {
 public:
  Convolution(Device& device, Index channels) : shape(shape_of(channels)), b_(device) {
    x_ = esp::Tensor<Device>::full(b_, {shape.n, shape.h, shape.w, shape.in}, 0.5f);
    w_ = esp::Tensor<Device>::full(b_, {shape.weight_count()}, 0.01f);
    y_ = esp::Tensor<Device>::zeros(b_, {shape.n, shape.h, shape.w, shape.out});
    prepared_ = b_.prepare_conv(shape, w_.data());
  }
  void dense() { b_.conv_forward(shape, x_.data(), w_.data(), y_.data(), {}, &prepared_); }

  static constexpr esp::ConvShape shape_of(Index channels) {
    return {.n = 16, .h = 8, .w = 8, .in = channels, .out = channels, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1};
  }
  static constexpr Size windows{256, 9 * 256, 16 * 64};  // the product that the direct algorithm computes for 256 channels
  static constexpr const char* name = "3x3,256x256,8x8,batch16";

  const esp::ConvShape shape;

 private:
  Device& b_;
  esp::Tensor<Device> x_, w_, y_;
  Device::PreparedConv prepared_;
};

using Mlp = esp::models::Mlp<Device>;
constexpr const char* lenet_name = "lenet300100,batch60";
const esp::Shape lenet_input{60, 784};

/// A net of these widths with this share of every layer's weights set to zero.
Mlp thinned(Device& device, const std::vector<Index>& widths, int percent) {
  Mlp net(device, widths, esp::Rng(1));
  esp::Rng dice(2);
  for (auto& layer : net.layers) {
    auto values = layer.weight.value.to_host(device);
    for (float& v : values)
      if (dice.uniform() < static_cast<float>(percent) / 100.0f) v = 0;
    layer.weight.value = esp::Tensor<Device>::from(device, layer.weight.value.shape(), values);
  }
  return net;
}

constexpr Size sizes[] = {{768, 3072, 128}, {768, 3072, 512}, {300, 784, 60}};
constexpr int zeros_in_percent[] = {10, 20, 30, 40, 50, 70, 80, 90, 95, 98};

std::string name_of(const Size& s, int percent) { return esp::str(s.outputs, 'x', s.inputs, 'x', s.rows, '@', percent); }

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  Device device({.threads = arguments.threads});
  Threads threads(arguments.threads);
  if (std::find(argv, argv + argc, std::string("--serve")) != argv + argc) {
    bench::Workloads workloads;
    std::map<std::string, std::shared_ptr<Layer>> layers;
    const auto mode = [&](const Size& size, int percent, void (Layer::*run)()) {
      return [&, size, percent, run] {
        auto& layer = layers[name_of(size, percent)];
        if (!layer) layer = std::make_shared<Layer>(device, threads, size, percent / 100.0);
        return bench::Iteration([layer, run] { ((*layer).*run)(); });
      };
    };
    const auto infer = [&device](const esp::Shape& input, auto model) {
      return bench::Iteration([model, x = std::make_shared<esp::Tensor<Device>>(esp::Tensor<Device>::full(device, input, 0.5f))] { (void)(*model)(*x); });
    };
    const auto compiled = [&device, infer](const std::vector<Index>& widths, const esp::Shape& input, int percent) {
      return [&device, infer, widths, input, percent] { return infer(input, std::make_shared<esp::Compiled<Device, Mlp>>(esp::compile(device, thinned(device, widths, percent), input))); };
    };
    for (const int percent : zeros_in_percent) {
      for (const Size& size : sizes)
        workloads[name_of(size, percent)] = {{"compiled", compiled({size.inputs, size.outputs}, {size.rows, size.inputs}, percent)}, {"dense", mode(size, percent, &Layer::dense)}, {"packed", mode(size, percent, &Layer::packed)},
                                             {"panels", mode(size, percent, &Layer::panels)}, {"rows", mode(size, percent, &Layer::rows)}};
      const auto convolution = [&device](Index channels) {
        return [&device, channels] {
          const auto shared = std::make_shared<Convolution>(device, channels);
          return bench::Iteration([shared] { shared->dense(); });
        };
      };
      workloads[esp::str(Convolution::name, '@', percent)] = {
          {"dense", convolution(256)}, {"half", convolution(128)}, {"panels", mode(Convolution::windows, percent, &Layer::panels)}};
    }
    for (const int percent : zeros_in_percent) {
      workloads[esp::str(lenet_name, '@', percent)] = {
          {"dense", [&device, percent, infer] { return infer(lenet_input, std::make_shared<esp::Frozen<Device, Mlp>>(device, thinned(device, esp::models::lenet_300_100, percent))); }},
          {"compiled", compiled(esp::models::lenet_300_100, lenet_input, percent)}};
    }
    bench::serve(arguments.threads, workloads);
    return 0;
  }
  bench::Suite suite("linear layers by share of zeros", arguments);
  const auto percentages = arguments.quick ? std::vector<int>{90} : std::vector<int>(std::begin(zeros_in_percent), std::end(zeros_in_percent));
  for (const Size& size : sizes)
    for (const int percent : percentages) {
      Layer layer(device, threads, size, percent / 100.0);
      if (percent == percentages[0]) {
        suite.run(esp::str(size.outputs, 'x', size.inputs, 'x', size.rows, ", dense"), layer.flops(), [&] { layer.dense(); });
        suite.run("  packed beforehand", layer.flops(), [&] { layer.packed(); });
      }
      const double flops = layer.flops() * layer.nonzero_share();
      suite.run(esp::str("  ", percent, " % zeros, in panels"), flops, [&] { layer.panels(); });
      suite.run(esp::str("  ", percent, " % zeros, from rows to rows"), flops, [&] { layer.rows(); });
      suite.run(esp::str("  ", percent, " % zeros, Eigen, 1 thread"), flops, [&] { layer.eigen(); });
    }
  for (const Index channels : {256, 128}) {
    Convolution convolution(device, channels);
    suite.run(esp::str("3x3 ", channels, "->", channels, " @8, batch 16, dense"), 2.0 * static_cast<double>(convolution.shape.multiply_adds()), [&] { convolution.dense(); });
  }
  for (const int percent : percentages) {
    Layer layer(device, threads, Convolution::windows, percent / 100.0);
    suite.run(esp::str("  256->256, ", percent, " % zeros, windows in panels"), layer.flops() * layer.nonzero_share(), [&] { layer.panels(); });
  }
  const auto x = esp::Tensor<Device>::full(device, lenet_input, 0.5f);
  for (const int percent : percentages) {
    const Mlp net = thinned(device, esp::models::lenet_300_100, percent);
    esp::Frozen<Device, Mlp> dense(device, net);
    auto compiled = esp::compile(device, net, lenet_input, {.runs = arguments.quick ? 1 : 11});
    suite.run(esp::str(lenet_name, ", ", percent, " % zeros, dense"), 0, [&] { (void)dense(x); });
    suite.run("  compiled", 0, [&] { (void)compiled(x); });
  }
  suite.print(arguments.json);
}
