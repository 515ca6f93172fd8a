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
#include <espalier/prune/score_collector.hpp>
#include <espalier/prune/structured_ticket.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/adam.hpp>

#include "io/scratch.hpp"
#include "train/toys.hpp"

using namespace espalier;

namespace iterative_test {

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

// Takes one weight, and then gives it back.
struct Revive {
  std::optional<double> remove{}, sparsity{};
  bool operator==(const Revive&) const = default;
  template <class Any, Module M>
  Mask next(Any&, const M& net, const Mask& mask) const {
    if (mask.dead() > 0) return Mask::ones(net);
    auto parts = mask.parts();
    parts[0].kill(3);
    return Mask(parts);
  }
  friend std::ostream& operator<<(std::ostream& to, const Revive&) { return to << "Revive{}"; }
};

const auto ignore = [](const auto&, const auto&) {};

template <class P>
concept HasRounds = requires(P p) { p.rounds = 15; };

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
    CHECK(ticket.policy == "IterativePruning{.decide = DropSmallest{.remove = 0.3}, .then = LotteryRewind{.to = iterations(3)}, .rounds = 2}");
    CHECK(ticket.survivors.size() == 3);
    save_ticket(b, ticket, file, {{"arch", "toy"}});
    const auto loaded = load_ticket(b, TheNet(b, Rng(99)), file);
    CHECK(loaded.ticket.mask == ticket.mask);
    CHECK(loaded.ticket.at == ticket.at);
    CHECK(loaded.ticket.until == until);
    CHECK(loaded.ticket.round == 2);
    CHECK(loaded.ticket.policy == ticket.policy);
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
  for (const auto& saved : files) {
    const Index round = saved.first;
    CAPTURE(round);
    Index left = 0;
    const auto [other, continued] = prune_iteratively(b, load_ticket(b, Net(b, Rng(0)), saved.second).ticket, images(), options(), lottery, [&](const auto&, const auto&) { ++left; });
    CHECK(left == 4 - round);
    CHECK(other.mask == last.mask);
    CHECK(content(b, continued.net) == content(b, trained.net));
  }
}

TEST_CASE_TEMPLATE("each relative of rewinding runs for two rounds, and from the file of any of its tickets to the same bytes", Then, LearningRateRewind, FineTuneWeights,
                   RandomReinitialise, RandomMask) {
  B b;
  const test::ScratchFolder folder;
  const IterativePruning<DropSmallest, Then> policy{.rounds = 2};
  std::map<Index, std::string> files;
  std::map<Index, Index> ends;
  const auto [last, trained] = prune_iteratively(b, whole_ticket(b, start(), images(), options(), until), images(), options(), policy, [&](const Ticket<Net>& ticket, const auto& result) {
    files[ticket.round] = folder / str(ticket.round, ".safetensors");
    ends[ticket.round] = result.end.step.iteration;
    save_ticket(b, ticket, files[ticket.round]);
    check_survivors(b, result.net, result.net, ticket.mask);
  });
  const bool trains_on = std::is_same_v<Then, FineTuneWeights>;
  CHECK(ends == std::map<Index, Index>{{0, until}, {1, trains_on ? until + length : until}, {2, trains_on ? until + 2 * length : until}});
  CHECK(last.survivors.size() == 3);
  CHECK(last.survivors[2] < last.survivors[1]);
  CHECK(last.policy == str("IterativePruning{.decide = DropSmallest{.remove = 0.3}, .then = ", Then{}, ", .rounds = 2}"));
  save_ticket(b, last, folder / "last.safetensors");
  for (const auto& saved : files) {
    const Index round = saved.first;
    CAPTURE(round);
    const auto [other, continued] = prune_iteratively(b, load_ticket(b, Net(b, Rng(0)), saved.second).ticket, images(), options(), policy, ignore);
    save_ticket(b, other, folder / "other.safetensors");
    CHECK(read_file(folder / "other.safetensors") == read_file(folder / "last.safetensors"));
    CHECK(content(b, continued.net) == content(b, trained.net));
  }
}

TEST_CASE("a random mask has the decided densities, and is not within the mask of the round before") {
  B b;
  std::optional<Mask> before;
  const IterativePruning<DropSmallest, RandomMask> policy{.rounds = 2};
  prune_iteratively(b, whole_ticket(b, start(), images(), options(), until), images(), options(), policy, [&](const Ticket<Net>& ticket, const auto&) {
    if (ticket.round == 2) CHECK(!ticket.mask.within(*before));
    before = ticket.mask;
  });
}

TEST_CASE("a ticket that goes back to another step than the policy is refused, by the policies that read a snapshot") {
  B b;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  const auto [ticket, trained] = prune_iteratively(b, whole, images(), options(), OneShot<DropSmallest, LotteryRewind>{}, ignore);
  const auto go_on = [&, from = ticket]<class Then>(const Then& then) {
    Index trainings = 0;
    const auto count = [&](const auto&, const auto&) { ++trainings; };
    try {
      prune_iteratively(b, from, images(), options(), IterativePruning<DropSmallest, Then>{.then = then, .rounds = 2}, count);
    } catch (const StaleState&) {
      CHECK(trainings == 0);  // before anything is computed
      throw;
    }
    CHECK(trainings == 2);
  };
  CHECK_THROWS_WITH_AS(go_on(LotteryRewind{.to = iterations(5)}),
                       "IterativePruning: found a ticket of round 1 that goes back to step 0, needed step 5 as the policy has it; continue with the policy that made the ticket, or start from a whole ticket",
                       StaleState);
  CHECK_THROWS_AS(go_on(LearningRateRewind{.to = iterations(5)}), StaleState);
  CHECK_THROWS_AS(go_on(RandomMask{.rewind = {.to = epochs(1)}}), StaleState);
  go_on(LotteryRewind{.to = epochs(0)});
  go_on(LearningRateRewind{});
  go_on(RandomMask{});
  go_on(FineTuneWeights{});
  go_on(RandomReinitialise{});
}

TEST_CASE("OneShot is IterativePruning with one round, has no other number of them, and is written by its own name") {
  static_assert(!HasRounds<OneShot<DropSmallest, LotteryRewind>> && HasRounds<IterativePruning<DropSmallest, LotteryRewind>>);
  B b;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  const OneShot<DropSmallest, LotteryRewind> once{.decide = {.remove = 0.6}, .then = {.to = iterations(5)}};
  const IterativePruning<DropSmallest, LotteryRewind> one_round{.decide = {.remove = 0.6}, .then = {.to = iterations(5)}, .rounds = 1};
  Index trainings = 0;
  const auto [ticket, trained] = prune_iteratively(b, whole, images(), options(), once, [&](const auto&, const auto&) { ++trainings; });
  const auto [same, same_trained] = prune_iteratively(b, whole, images(), options(), one_round, ignore);
  CHECK(trainings == 2);
  CHECK(ticket.round == 1);
  CHECK(ticket.mask == same.mask);
  CHECK(content(b, trained.net) == content(b, same_trained.net));
  CHECK(ticket.policy == "OneShot{.decide = DropSmallest{.remove = 0.6}, .then = LotteryRewind{.to = iterations(5)}}");
  CHECK_THROWS_WITH_AS(prune_iteratively(b, whole, images(), options(), OneShot<DropSmallest, LotteryRewind>{.then = {.to = epochs(9)}}, ignore), doctest::Contains("OneShot: found a snapshot after 72 steps"),
                       PolicyError);
}

TEST_CASE("a criterion that reads collected scores gets them from the observer of the trainings") {
  B b;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  const GlobalMovement moving{.remove = 0.5, .ignore = {"head"}};
  const OneShot<GlobalMovement, LotteryRewind> policy{.decide = moving};
  ScoreCollector<Movement, B> observer, alone;
  const auto [ticket, trained] = prune_iteratively(b, whole, images(), options(), policy, ignore, observer);
  CHECK(ticket.mask.find("conv.weight")->survivors() == 27);
  CHECK(observer.steps() == 2 * until);
  const auto dense = train_ticket(b, whole, images(), options(), {}, alone);
  CHECK(moving.next(b, dense.net, whole.mask, alone.scores(b)) == ticket.mask);
  CHECK_THROWS_WITH_AS(prune_iteratively(b, whole, images(), options(), policy, ignore), doctest::Contains("Movement: found no scores"), PolicyError);
}

TEST_CASE("a decision that revives a weight is refused, by rounds and while training") {
  B b;
  const auto whole = whole_ticket(b, start(), images(), options(), until);
  Index rounds = 0;
  const IterativePruning<Revive, LotteryRewind> policy{.rounds = 3};
  CHECK_THROWS_WITH_AS(prune_iteratively(b, whole, images(), options(), policy, [&](const auto&, const auto&) { ++rounds; }), doctest::Contains("the decision revives weights"), StaleState);
  CHECK(rounds == 2);
  Net net = start();
  const GradualPruning<Revive, LinearSparsity> gradual{.sparsity = {.begin = iterations(2), .end = iterations(4), .frequency = iterations(1)}};
  CHECK_THROWS_WITH_AS(prune_gradually(b, net, images(), options(), gradual), doctest::Contains("the decision revives weights"), StaleState);
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

}  // namespace iterative_test
