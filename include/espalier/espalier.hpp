// SPDX-License-Identifier: Apache-2.0
// What runs on any device: tensors, tape, ops, models, cost, pruning. Include a backend beside it, such as
// espalier/backend/eigen_cpu.hpp; and by their own headers what not every program uses: data/, io/, report/,
// train/loop.hpp and the optimisers, and the loops that train and prune (prune/iterative.hpp, prune/gradual.hpp).
#pragma once

#include <espalier/autograd/eval.hpp>
#include <espalier/autograd/tape.hpp>
#include <espalier/autograd/trace.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/config.hpp>
#include <espalier/error.hpp>
#include <espalier/models/convnet.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/models/vgg.hpp>
#include <espalier/nn/compiled.hpp>
#include <espalier/nn/cost.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/attention.hpp>
#include <espalier/op/gelu.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/prune/apply.hpp>
#include <espalier/prune/budget.hpp>
#include <espalier/prune/dead_channels.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/mask_controls.hpp>
#include <espalier/prune/plan.hpp>
#include <espalier/prune/planning.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/prune/sensitivity.hpp>
#include <espalier/prune/sparsity_schedule.hpp>
#include <espalier/prune/unstructured.hpp>
