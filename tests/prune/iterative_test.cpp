// SPDX-License-Identifier: Apache-2.0
// Lottery tickets that really rewind: what others' flags did not do, as laws (peers: pytorch-lightning 13643, whose
// flag copied weights and never set them back; NNI 2559, which exported the trained weights instead of the ticket).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/io/ticket.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/gradual.hpp>
#include <espalier/prune/iterative.hpp>
#include <espalier/prune/planning.hpp>
#include <espalier/train/adam.hpp>

#include "io/scratch.hpp"
#include "train/toys.hpp"

using namespace espalier;
using test::content;
using test::ToyNet;
using B = Reference;
using Net = ToyNet<B>;

namespace {

constexpr Index length = 8;   // batches an epoch: 64 images by 8
constexpr Index until = 20;   // ends within the third epoch

TrainOptions<Adam, MultiStep> options() {
  return {.batch = 8, .schedule = {.from = 0.02, .factor = 0.1, .at = {iterations(6)}}, .normalise = test::toy_channels(), .seed = 4};
}
const data::ImageSet& images() {
  static const data::ImageSet set = test::toy_images(64, 1);
  return set;
}

// An obvious decision: of each part, the live weights of the smallest magnitude go.
struct DropSmallest {
  double remove = 0.3;
  bool operator==(const DropSmallest&) const = default;
  template <class Any, Module M>
  Mask next(Any& b, const M& net, const Mask& mask) const {
    auto parts = mask.parts();
    for_each_parameter(net, [&](const std::string& path, const auto& p) {
      const auto part = std::find_if(parts.begin(), parts.end(), [&](const MaskPart& m) { return m.path == path; });
      if (part == parts.end()) return;
      const HostTensor w = to_host(b, p);
      std::vector<Index> alive;
      for (Index i = 0; i < part->weights(); ++i)
        if (part->alive(i)) alive.push_back(i);
      std::stable_sort(alive.begin(), alive.end(), [&](Index i, Index j) { return std::abs(w.values[static_cast<std::size_t>(i)]) < std::abs(w.values[static_cast<std::size_t>(j)]); });
      for (std::size_t i = 0; i < static_cast<std::size_t>(remove * static_cast<double>(alive.size())); ++i) part->kill(alive[i]);
    });
    return Mask(parts);
  }
  friend std::ostream& operator<<(std::ostream& to, const DropSmallest& d) { return to << "DropSmallest{.remove = " << d.remove << "}"; }
};

// Where a mask is alive, a and b have equal bits; where it is dead, a is zero. Returns how many live weights were compared.
template <Module M>
Index check_survivors(B& b, const M& a, const M& other, const Mask& mask) {
  const auto expected = content(b, other);
  std::size_t next = 0;
  Index compared = 0;
  for_each_member(a, [&](const std::string& path, const auto& member) {
    if constexpr (requires { member.value.shape(); }) {
      const HostTensor found = to_host(b, member), &wanted = expected[next++].second;
      const MaskPart* part = mask.find(path);
      for (std::size_t i = 0; i < found.values.size(); ++i) {
        const bool alive = part == nullptr || part->alive(static_cast<Index>(i));
        REQUIRE(found.values[i] == (alive ? wanted.values[i] : 0));
        compared += alive ? 1 : 0;
      }
    }
  });
  return compared;
}

// The learning rate and loss of every step.
struct Steps {
  std::vector<std::pair<double, double>> rate_and_loss;
  void step(const StepMetrics& m) { rate_and_loss.emplace_back(m.learning_rate, m.loss); }
};

auto start() {
  B b;
  return Net(b, Rng(3));
}

}  // namespace

TEST_CASE("after every round survivors are bit-equal to the snapshot and the dead are zero, at step 0 and at step k") {
  for (const Index k : {Index{0}, Index{5}, Index{11}}) {
    CAPTURE(k);
    B b;
    const Net net = start();
    std::optional<Net> snapshot;
    Index rounds = 0;
    const IterativePruning<DropSmallest, LotteryRewind> lottery{.then = {.to = iterations(static_cast<double>(k))}, .rounds = 3};
    std::optional<Mask> before;
    prune_iteratively(b, whole_ticket(b, net, images(), options(), until), images(), options(), lottery, [&](const Ticket<Net>& ticket, const TrainedTicket<Net>& trained) {
      CHECK(ticket.round == rounds++);
      if (ticket.round == 0) {
        REQUIRE(trained.snapshot.has_value());
        snapshot = *trained.snapshot;
        CHECK((content(b, *snapshot) == content(b, net)) == (k == 0));
      } else {
        CHECK(ticket.at.step.iteration == k);
        CHECK(check_survivors(b, ticket.start(b), *snapshot, ticket.mask) > 50);
        CHECK(content(b, ticket.start(b)) != content(b, mask(b, trained.net, ticket.mask)));  // it did rewind
        CHECK(ticket.mask.within(*before));
        CHECK(ticket.mask.survivors() < before->survivors());
      }
      check_survivors(b, trained.net, trained.net, ticket.mask);  // dead weights stayed dead through Adam
      before = ticket.mask;
    });
    CHECK(rounds == 4);
  }
}

TEST_CASE("schedule, data order and dropout start again where the snapshot was taken") {
  B b;
  const Net net = start();
  const auto plain = [] {
    TrainOptions<Sgd, MultiStep> o{.batch = 8, .optimizer = {.momentum = 0}, .schedule = {.from = 0.02, .factor = 0.1, .at = {iterations(6)}}, .normalise = test::toy_channels(), .seed = 4};
    return o;
  }();
  const auto whole = whole_ticket(b, net, images(), plain, until);
  Steps first, again;
  const auto trained = train_ticket(b, whole, images(), plain, Index{5}, first);
  REQUIRE(first.rate_and_loss.size() == static_cast<std::size_t>(until));
  CHECK(first.rate_and_loss[5].first == 0.02);
  CHECK(first.rate_and_loss[6].first == doctest::Approx(0.002));
  // No weight is removed, and the optimiser has no moments: rewinding is then going on from step 5.
  const Ticket<Net> rewound = LotteryRewind{.to = iterations(5)}.next(b, whole, trained, Snapshot<Net>{*trained.snapshot, trained.snapshot_state}, whole.mask);
  const auto repeated = train_ticket(b, rewound, images(), plain, {}, again);
  CHECK(std::vector(first.rate_and_loss.begin() + 5, first.rate_and_loss.end()) == again.rate_and_loss);
  CHECK(content(b, trained.net) == content(b, repeated.net));
}

TEST_CASE("the optimiser starts anew: the first update after rewinding is Adam's first") {
  B b;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  const auto trained = train_ticket(b, whole, images(), options(), Index{5});
  const Ticket<Net> rewound = LotteryRewind{.to = iterations(5)}.next(b, whole, trained, Snapshot<Net>{*trained.snapshot, trained.snapshot_state}, whole.mask);
  Ticket<Net> one_step = rewound;
  one_step.until = 6;
  const auto after = train_ticket(b, one_step, images(), options());
  // Adam's first update is lr * g / (|g| + eps): no larger than the learning rate, and that large for most weights.
  const HostTensor before = to_host(b, rewound.weights.conv.weight), moved = to_host(b, after.net.conv.weight);
  double largest = 0;
  for (std::size_t i = 0; i < before.values.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(moved.values[i]) - static_cast<double>(before.values[i])));
  CHECK(largest <= 0.02 * 1.0001);
  CHECK(largest > 0.02 * 0.99);
}

TEST_CASE("one ticket trains to the same bytes twice, from its file, and on any number of threads") {
  const test::ScratchFolder folder;
  const auto run = [&](auto b, const std::string& file) {
    using Device = decltype(b);
    using TheNet = ToyNet<Device>;
    const TheNet net(b, Rng(3));
    const IterativePruning<DropSmallest, LotteryRewind> lottery{.then = {.to = iterations(3)}, .rounds = 2};
    const auto [ticket, trained] = prune_iteratively(b, whole_ticket(b, net, images(), options(), until), images(), options(), lottery, [](const auto&, const auto&) {});
    save_ticket(b, ticket, file, {{"arch", "toy"}});
    const auto loaded = load_ticket(b, TheNet(b, Rng(99)), file);
    CHECK(loaded.ticket.mask == ticket.mask);
    CHECK(loaded.ticket.at == ticket.at);
    CHECK(loaded.ticket.until == until);
    CHECK(loaded.ticket.round == 2);
    CHECK(loaded.ticket.survivors == ticket.survivors);
    CHECK(loaded.metadata == Metadata{{"arch", "toy"}});
    const auto again = train_ticket(b, loaded.ticket, images(), options());
    CHECK(content(b, again.net) == content(b, trained.net));
    return content(b, trained.net);
  };
  run(Reference{}, folder / "reference.safetensors");
  const auto one = run(EigenCpu({.threads = 1}), folder / "one.safetensors");
  CHECK(one == run(EigenCpu({.threads = 3}), folder / "three.safetensors"));
  CHECK(read_file(folder / "one.safetensors") == read_file(folder / "three.safetensors"));
}

TEST_CASE("a run continued from any of its tickets ends with the bytes of the whole run") {
  B b;
  const test::ScratchFolder folder;
  const IterativePruning<DropSmallest, LotteryRewind> lottery{.then = {.to = iterations(5)}, .rounds = 3};
  std::map<Index, std::string> files;
  const auto [last, trained] = prune_iteratively(b, whole_ticket(b, start(), images(), options(), until), images(), options(), lottery, [&](const Ticket<Net>& ticket, const auto&) {
    files[ticket.round] = folder / str(ticket.round, ".safetensors");
    save_ticket(b, ticket, files[ticket.round]);
  });
  for (const auto& [round, file] : files) {
    CAPTURE(round);
    Index left = 0;
    const auto [other, continued] = prune_iteratively(b, load_ticket(b, Net(b, Rng(0)), file).ticket, images(), options(), lottery, [&](const auto&, const auto&) { ++left; });
    CHECK(left == 4 - round);
    CHECK(other.mask == last.mask);
    CHECK(content(b, continued.net) == content(b, trained.net));
  }
}

TEST_CASE("what rewinding leaves alone is a choice: weights only keeps trained biases, normalisations and statistics") {
  B b;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  const auto trained = train_ticket(b, whole, images(), options(), Index{0});
  const Snapshot<Net> saved{*trained.snapshot, trained.snapshot_state};
  const Mask mask = DropSmallest{}.next(b, trained.net, whole.mask);
  const auto all = LotteryRewind{}.next(b, whole, trained, saved, mask), weights = LotteryRewind{.what = Rewound::weights_only}.next(b, whole, trained, saved, mask);
  CHECK(content(b, all.weights) == content(b, saved.net));
  CHECK(to_host(b, weights.weights.conv.weight) == to_host(b, saved.net.conv.weight));
  CHECK(to_host(b, weights.weights.norm.weight) == to_host(b, trained.net.norm.weight));
  CHECK(to_host(b, weights.weights.norm.running_mean) == to_host(b, trained.net.norm.running_mean));
  CHECK(to_host(b, *weights.weights.head.bias) == to_host(b, *trained.net.head.bias));
}

TEST_CASE("the controls: trained weights with an old schedule, trained weights further on, new weights, another mask") {
  B b;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  const auto trained = train_ticket(b, whole, images(), options(), Index{5});
  const Snapshot<Net> saved{*trained.snapshot, trained.snapshot_state};
  const Mask mask = DropSmallest{}.next(b, trained.net, whole.mask);

  const auto rate = LearningRateRewind{.to = iterations(5)}.next(b, whole, trained, saved, mask);
  check_survivors(b, rate.start(b), trained.net, mask);
  CHECK(rate.at.step.iteration == 5);
  CHECK(rate.until == until);

  const auto tuned = FineTuneWeights{.train = epochs(2)}.next(b, whole, trained, saved, mask);
  check_survivors(b, tuned.start(b), trained.net, mask);
  CHECK(tuned.at.step.iteration == until);
  CHECK(tuned.until == until + 2 * length);
  Steps steps;
  train_ticket(b, tuned, images(), options(), {}, steps);
  CHECK(steps.rate_and_loss.size() == static_cast<std::size_t>(2 * length));
  for (const auto& [lr, loss] : steps.rate_and_loss) CHECK(lr == doctest::Approx(0.002));  // the schedule's last value

  const auto fresh = RandomReinitialise{.seed = 7}.next(b, whole, trained, saved, mask);
  CHECK(fresh.at.step.iteration == 0);
  CHECK(fresh.mask == mask);
  CHECK(to_host(b, fresh.weights.conv.weight) != to_host(b, saved.net.conv.weight));
  for (const float mean : to_host(b, fresh.weights.norm.running_mean).values) CHECK(mean == 0);
  CHECK(content(b, RandomReinitialise{.seed = 8}.next(b, whole, trained, saved, mask).weights) != content(b, fresh.weights));

  const auto other = RandomMask{.seed = 7, .rewind = {.to = iterations(5)}}.next(b, whole, trained, saved, mask);
  CHECK(content(b, other.weights) == content(b, saved.net));
  CHECK(other.mask != mask);
  for (const MaskPart& part : mask.parts()) CHECK(other.mask.find(part.path)->survivors() == part.survivors());
}

TEST_CASE("a structured ticket is the snapshot, cut: fewer parameters, old values") {
  B b;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  const auto trained = train_ticket(b, whole, images(), options(), Index{0});
  const Plan half = plan(b, trained.net, {1, 6, 6, 1}, FilterL1{.amount = Fraction{0.5}});
  const Snapshot<Net> saved{*trained.snapshot, trained.snapshot_state};
  const auto ticket = structured_ticket(b, saved, half, until);
  CHECK(ticket.weights.conv.weight.outside_shape() == Shape{3, 1, 3, 3});
  CHECK(content(b, ticket.weights) == content(b, shrink(b, saved.net, half)));
  CHECK(parameter_count(ticket.weights) < parameter_count(saved.net));
  CHECK(ticket.mask.dead() == 0);
  const test::ScratchFolder folder;
  save_ticket(b, ticket, folder / "t.safetensors");
  const auto loaded = load_ticket(b, Net(b, Rng(0)), folder / "t.safetensors");  // a net of the full width takes the file's
  CHECK(content(b, train_ticket(b, loaded.ticket, images(), options()).net) == content(b, train_ticket(b, ticket, images(), options()).net));
}

TEST_CASE("damaged tickets, tickets of other networks and impossible places are refused with a sentence") {
  B b;
  const test::ScratchFolder folder;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  save_ticket(b, whole, folder / "t.safetensors");
  auto bytes = read_file(folder / "t.safetensors");
  bytes[bytes.size() - 3] ^= std::byte{1};
  write_file_atomically(folder / "damaged.safetensors", std::span<const std::byte>(bytes));
  CHECK_THROWS_WITH_AS(load_ticket(b, start(), folder / "damaged.safetensors"), doctest::Contains("damaged"), DataError);
  save_weights(b, start(), folder / "weights.safetensors");
  CHECK_THROWS_AS(load_ticket(b, start(), folder / "weights.safetensors"), DataError);
  CHECK_THROWS_AS(load_ticket(b, Linear<B>(b, 3, 2, {}, *std::make_unique<Rng>(1)), folder / "t.safetensors"), DataError);

  const IterativePruning<DropSmallest, LotteryRewind> late{.then = {.to = iterations(static_cast<double>(until))}};
  CHECK_THROWS_WITH_AS(prune_iteratively(b, whole, images(), options(), late, [](const auto&, const auto&) {}), doctest::Contains("rewind to an earlier step"), PolicyError);
  CHECK_THROWS_AS((IterativePruning<DropSmallest, LotteryRewind>{.rounds = -1}.validate()), PolicyError);
  CHECK_THROWS_AS(whole_ticket(b, start(), images(), options(), 0), PolicyError);
}

TEST_CASE("policies print as they are written") {
  CHECK(str(LotteryRewind{.to = iterations(500)}) == "LotteryRewind{.to = iterations(500)}");
  CHECK(str(FineTuneWeights{.train = epochs(2)}) == "FineTuneWeights{.train = epochs(2)}");
  std::ostringstream out;
  out << IterativePruning<DropSmallest, LotteryRewind>{.rounds = 15};
  CHECK(out.str() == "IterativePruning{.decide = DropSmallest{.remove = 0.3}, .then = LotteryRewind{.to = iterations(0)}, .rounds = 15}");
}
