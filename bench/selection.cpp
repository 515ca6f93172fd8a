// SPDX-License-Identifier: Apache-2.0
// The threshold of the 80 % smallest magnitudes, exactly, beside one read of the scores and the standard library.
//   selection [--threads N] [--json] [--quick]      15 M and 138 M normal scores, and 15 M hostile ones
//   selection --serve FILE [--threads N]            the float32 scores of FILE: a child of bench/pytorch/selection.py
#include "harness.hpp"

#include <chrono>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include <espalier/models/vgg.hpp>
#include <espalier/prune/detail/rank.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/tensor/rng.hpp>

namespace {

namespace esp = espalier;
using esp::Index;

// Scores, and what is timed on them. Each returns the threshold; `read` a sum, so that it is not optimised away.
class Contest {
 public:
  Contest(std::vector<float> scores, int threads)
      : scores_(std::move(scores)), rank_(static_cast<Index>(scores_.size()) / 5 * 4), words_((scores_.size() + 63) / 64), pool_(threads) {}

  float read() {
    namespace simd = esp::detail::simd;
    constexpr Index piece = 16384;
    const auto n = static_cast<Index>(scores_.size());
    std::vector<float> sums(static_cast<std::size_t>((n + piece - 1) / piece));
    pool_.run(static_cast<Index>(sums.size()), [&](Index block, int) {
      const float* p = scores_.data() + block * piece;
      const Index whole = std::min(piece, n - block * piece) / (4 * simd::lanes);
      simd::Vec sum[4] = {};
      for (Index i = 0; i < whole; ++i)
        for (int v = 0; v < 4; ++v) sum[v] += simd::load(p + (4 * i + v) * simd::lanes);
      sums[static_cast<std::size_t>(block)] = (sum[0] + sum[1] + sum[2] + sum[3])[0];
    });
    float total = 0;
    for (const float sum : sums) total += sum;
    return total;
  }

  float find_cut() { return esp::detail::find_cut(pool_, segments(), esp::detail::ScoreKey::magnitude, rank_).threshold; }

  float remove_smallest() {
    std::fill(words_.begin(), words_.end(), ~std::uint64_t{0});
    std::uint64_t* const out[] = {words_.data()};
    esp::detail::remove_smallest(pool_, segments(), esp::detail::ScoreKey::magnitude, rank_, out);
    return 0;
  }

  float nth_element() {
    std::vector<float> copy(scores_.size());
    std::transform(scores_.begin(), scores_.end(), copy.begin(), [](float x) { return std::abs(x); });
    std::nth_element(copy.begin(), copy.begin() + (rank_ - 1), copy.end());
    return copy[static_cast<std::size_t>(rank_ - 1)];
  }

 private:
  std::span<const esp::detail::ScoreSegment> segments() {
    segment_.scores = scores_;
    return {&segment_, 1};
  }

  std::vector<float> scores_;
  Index rank_;
  std::vector<std::uint64_t> words_;
  esp::detail::ScoreSegment segment_;
  esp::detail::ThreadPool pool_;
};

using Call = float (Contest::*)();
const std::map<std::string, Call> calls{
    {"read", &Contest::read}, {"find_cut", &Contest::find_cut}, {"remove_smallest", &Contest::remove_smallest}, {"nth_element", &Contest::nth_element}};

std::vector<float> normal_scores(Index n) {
  std::vector<float> scores(static_cast<std::size_t>(n));
  esp::Rng rng(1);
  for (float& score : scores) score = rng.normal();
  return scores;
}

std::string label(Index n) { return n < 1'000'000 ? esp::str(n) : esp::str(n / 1'000'000, " M"); }

// Each line "NAME COUNT" is answered by {"seconds": [...], "result": threshold}.
int serve(const std::string& path, int threads) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const auto bytes = file.tellg();
  if (!file || bytes < 64) {
    std::cerr << "selection: " << path << " cannot be read or is too short; it should hold float32 scores\n";
    return 1;
  }
  std::vector<float> scores(static_cast<std::size_t>(bytes) / sizeof(float));
  file.seekg(0).read(reinterpret_cast<char*>(scores.data()), static_cast<std::streamsize>(scores.size() * sizeof(float)));
  Contest contest(std::move(scores), threads);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string name;
    int count = 0;
    words >> name >> count;
    if (!calls.contains(name) || count < 1) {
      std::cerr << "selection: found '" << line << "'; needed is read, find_cut, remove_smallest or nth_element, and how often\n";
      return 2;
    }
    float result = 0;
    std::cout << "{\"seconds\": [";
    for (int i = 0; i < count; ++i) {
      const auto start = std::chrono::steady_clock::now();
      result = (contest.*calls.at(name))();
      std::cout << (i ? ", " : "") << std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    std::cout << "], \"result\": " << esp::str(result) << "}" << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string(argv[i]) == "--serve") return serve(argv[i + 1], arguments.threads);
  bench::Suite suite("selection by rank, 80 % of the magnitudes", arguments);
  for (const Index n : arguments.quick ? std::vector<Index>{10'000, 300'000} : std::vector<Index>{15'000'000, 138'000'000}) {
    Contest contest(normal_scores(n), arguments.threads);
    float result = 0;
    const std::string size = label(n);
    suite.run(size + ", one read", 0, [&] { result += contest.read(); });
    suite.run(size + ", find_cut", 0, [&] { result += contest.find_cut(); });
    suite.run(size + ", remove_smallest", 0, [&] { result += contest.remove_smallest(); });
    suite.run(size + ", std::nth_element of a copy, 1 thread", 0, [&] { result += contest.nth_element(); }, 3);
    if (std::isnan(result)) std::cerr << "not a number\n";
  }
  // Ties must be counted, not collected; a sample that misleads costs more reads, but not many.
  const Index n = arguments.quick ? 300'000 : 15'000'000;
  const std::vector<float> normal = normal_scores(n);
  std::vector<float> scores(normal.size(), 1.0f);
  const auto time = [&](const char* name) {
    Contest contest(scores, arguments.threads);
    suite.run(esp::str(label(n), ' ', name, ", find_cut"), 0, [&] { contest.find_cut(); });
  };
  time("equal");
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = std::max(normal[i], 0.84f);
  time("of which 80 % equal");
  scores = normal;
  for (const Index place : esp::detail::sample_places(n)) std::fill_n(scores.begin() + place, esp::detail::sample_run, 9.0f);
  time("that mislead the sample");
  // What a user calls: scores from the device, in the layout of files, selection, a new mask.
  esp::EigenCpu device({.threads = arguments.threads});
  const esp::models::Vgg<esp::EigenCpu> net(device, arguments.quick ? esp::models::VggConfig{.stages = {{32}, {32}}} : esp::models::vgg16, esp::Rng(1));
  const esp::Mask whole = esp::Mask::ones(net);
  Contest contest(normal_scores(whole.weights()), arguments.threads);
  float result = 0;
  suite.run(esp::str("VGG's ", label(whole.weights()), ", one read"), 0, [&] { result += contest.read(); });
  suite.run("VGG, GlobalMagnitude{.sparsity = 0.8, .keep_at_least = 1}.next", 0, [&] { result += static_cast<float>(esp::GlobalMagnitude{.sparsity = 0.8, .keep_at_least = 1}.next(device, net, whole).survivors()); });
  suite.print(arguments.json);
}
