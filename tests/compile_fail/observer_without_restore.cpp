// expect: an observer with scores\(B&\) needs restore\(B&, const M&, const Scores&\) too, so that a checkpoint can carry what it gathered
// SPDX-License-Identifier: Apache-2.0
// Gathered, decided by, and forgotten in the checkpoint.
#include <espalier/backend/reference.hpp>
#include <espalier/data/dataset.hpp>
#include <espalier/io/checkpoint.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/train/sgd.hpp>

using namespace espalier;

struct Watch {
  ScoreCollector<Movement, Reference> collector;
  template <class M> void gradients(Reference& b, const M& net) { collector.gradients(b, net); }
  Scores scores(Reference& b) const { return collector.scores(b); }
#ifdef ESPALIER_FIXED
  template <class M> void restore(Reference& b, const M& net, const Scores& scores) { collector.restore(b, net, scores); }
#endif
};

void run(Reference& b, models::Mlp<Reference>& net, const data::ImageSet& images) {
  train(b, net, images, TrainOptions<Sgd>{}, Watch{}, Checkpointer{.folder = "runs"});
}
