// SPDX-License-Identifier: Apache-2.0
// The policies that the papers printed numbers for, as values: what to prune to meet the same
// integers. tests/papers/li2017_test.cpp holds the integers.
#pragma once

#include <espalier/prune/filter_l1.hpp>

namespace espalier::papers::li2017 {

/// VGG-16-A of table 1, with the widths of table 2: the first convolution and the last six are halved.
/// For models::vgg16 on 32x32x3: 14,987,722 parameters and 313,463,808 multiply-adds become 5,397,034
/// and 206,279,680 (64.0 % and 34.2 % less).
inline FilterL1 vgg16_a() { return {.amount = Widths{{32, 64, 128, 128, 256, 256, 256, 256, 256, 256, 256, 256, 256}}}; }

// In the ResNets only the first convolution of a block is pruned, at one rate per stage; blocks that
// the sensitivity scan of section 3.3 found fragile are skipped. The paper counts convolutions from the
// stem, number 1: number 2 b + 2 is the first convolution of the b-th block.

/// ResNet-56-A of table 1 (10 % in every stage; convolutions 16, 20, 38 and 54 skipped): 853,018
/// parameters and 125,485,696 multiply-adds become 773,336 and 112,435,840 (9.34 % and 10.40 % less).
inline FilterL1 resnet56_a() {
  return {.amount = PerLayer{{{"layer1.*.conv1", 0.1}, {"layer2.*.conv1", 0.1}, {"layer3.*.conv1", 0.1}}},
          .skip = {"layer1.7.conv1", "layer2.0.conv1", "layer3.0.conv1", "layer3.8.conv1"}};
}

/// ResNet-56-B of table 1 (60, 30 and 10 %; convolutions 16, 18, 20, 34, 38 and 54 skipped): to
/// 735,712 parameters and 90,907,264 multiply-adds (13.75 % and 27.56 % less).
inline FilterL1 resnet56_b() {
  return {.amount = PerLayer{{{"layer1.*.conv1", 0.6}, {"layer2.*.conv1", 0.3}, {"layer3.*.conv1", 0.1}}},
          .skip = {"layer1.7.conv1", "layer1.8.conv1", "layer2.0.conv1", "layer2.7.conv1", "layer3.0.conv1", "layer3.8.conv1"}};
}

/// ResNet-110-A of table 1 (50 % of the first stage; convolution 36 skipped): 1,727,962 parameters and
/// 252,887,680 multiply-adds become 1,688,522 and 212,779,648 (2.3 % and 15.9 % less).
inline FilterL1 resnet110_a() { return {.amount = PerLayer{{{"layer1.*.conv1", 0.5}}}, .skip = {"layer1.17.conv1"}}; }

/// ResNet-110-B of table 1 (50, 40 and 30 %; convolutions 36, 38 and 74 skipped): to 1,168,424
/// parameters and 155,124,352 multiply-adds (32.4 % and 38.6 % less).
inline FilterL1 resnet110_b() {
  return {.amount = PerLayer{{{"layer1.*.conv1", 0.5}, {"layer2.*.conv1", 0.4}, {"layer3.*.conv1", 0.3}}},
          .skip = {"layer1.17.conv1", "layer2.0.conv1", "layer3.0.conv1"}};
}

}  // namespace espalier::papers::li2017
