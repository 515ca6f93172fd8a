# SPDX-License-Identifier: Apache-2.0
"""The networks of the comparison, in PyTorch.

Widths and shortcut forms are arguments, so that the golden files (small) and
the timings (full size) use one definition.
"""

import torch
from torch import nn
from torch.nn import functional as F

VGG16 = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]


class LeNet300100(nn.Module):
    """784-300-100-10 with ReLU: the multilayer perceptron of Frankle & Carbin 2019."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Vgg(nn.Module):
    """CIFAR VGG of Li et al. 2017's code: 3x3 convolutions without bias, each
    with batch norm and ReLU; 2x2 average pool; Linear, batch norm, ReLU, Linear.

    The cfg must leave a 2x2 map in front of the average pool."""

    def __init__(self, cfg, hidden, classes=10):
        super().__init__()
        layers, width = [], 3
        for item in cfg:
            if item == "M":
                layers.append(nn.MaxPool2d(2, 2))
                continue
            layers += [nn.Conv2d(width, item, 3, padding=1, bias=False),
                       nn.BatchNorm2d(item), nn.ReLU()]
            width = item
        self.features = nn.Sequential(*layers)
        self.pool = nn.AvgPool2d(2)
        self.classifier = nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden),
                                        nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, x):
        return self.classifier(self.pool(self.features(x)).flatten(1))


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, shortcut):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing, self.form = stride, outputs - inputs, shortcut

    def shortcut(self, x):
        if self.stride == 1 and self.missing == 0:
            return x
        if self.form == "pad_both_sides":
            half = self.missing // 2
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        if self.form == "average_then_pad_after":
            return F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, 0, self.missing))
        raise ValueError(f"unknown shortcut form {self.form!r}")

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """6n+2 layers (He et al. 2016, section 4.2) with a parameter-free shortcut."""

    def __init__(self, depth, shortcut, classes=10):
        super().__init__()
        blocks = (depth - 2) // 6
        if depth != 6 * blocks + 2:
            raise ValueError(f"depth {depth} is not 6n+2")
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self.stage(16, 16, 1, blocks, shortcut)
        self.layer2 = self.stage(16, 32, 2, blocks, shortcut)
        self.layer3 = self.stage(32, 64, 2, blocks, shortcut)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def stage(inputs, outputs, stride, blocks, shortcut):
        first = BasicBlock(inputs, outputs, stride, shortcut)
        rest = [BasicBlock(outputs, outputs, 1, shortcut) for _ in range(blocks - 1)]
        return nn.Sequential(first, *rest)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.layer3(self.layer2(self.layer1(y)))
        return self.linear(y.mean((2, 3)))


def tree(**children):
    """A module that only names its children, for dotted Hugging Face paths."""
    module = nn.Module()
    for name, child in children.items():
        setattr(module, name, child)
    return module


class Bert(nn.Module):
    """Post-norm encoder, tanh pooler on the first token, linear classifier.

    Parameter names and arithmetic order are those of Hugging Face's
    BertForSequenceClassification; no dropout. `forward` also returns the scaled
    attention scores (before the mask), the probabilities and the hidden states."""

    def __init__(self, vocab, width, heads, ffn, positions, layers, classes, eps=1e-12):
        super().__init__()
        self.heads = heads

        def norm():
            return nn.LayerNorm(width, eps=eps)

        def layer():
            return tree(
                attention=tree(
                    self=tree(query=nn.Linear(width, width), key=nn.Linear(width, width),
                              value=nn.Linear(width, width)),
                    output=tree(dense=nn.Linear(width, width), LayerNorm=norm())),
                intermediate=tree(dense=nn.Linear(width, ffn)),
                output=tree(dense=nn.Linear(ffn, width), LayerNorm=norm()))

        self.bert = tree(
            embeddings=tree(word_embeddings=nn.Embedding(vocab, width),
                            position_embeddings=nn.Embedding(positions, width),
                            token_type_embeddings=nn.Embedding(2, width), LayerNorm=norm()),
            encoder=tree(layer=nn.ModuleList(layer() for _ in range(layers))),
            pooler=tree(dense=nn.Linear(width, width)))
        self.classifier = nn.Linear(width, classes)

    def attention(self, block, x, mask):
        batch, length, width = x.shape

        def split(y):
            return y.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        q, k, v = (split(m(x)) for m in (block.query, block.key, block.value))
        scores = q @ k.transpose(2, 3) / (width // self.heads) ** 0.5
        probs = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf")).softmax(-1)
        return (probs @ v).transpose(1, 2).reshape(x.shape), scores, probs

    def forward(self, ids, types, mask):
        e = self.bert.embeddings
        positions = torch.arange(ids.shape[1])
        x = e.LayerNorm(e.word_embeddings(ids) + e.token_type_embeddings(types)
                        + e.position_embeddings(positions))
        hidden, scores, probs = [x], [], []
        for layer in self.bert.encoder.layer:
            context, s, p = self.attention(layer.attention.self, x, mask)
            out = layer.attention.output
            x = out.LayerNorm(out.dense(context) + x)
            y = layer.output.dense(F.gelu(layer.intermediate.dense(x)))
            x = layer.output.LayerNorm(y + x)
            hidden.append(x)
            scores.append(s)
            probs.append(p)
        pooled = torch.tanh(self.bert.pooler.dense(x[:, 0]))
        return self.classifier(pooled), hidden, scores, probs
