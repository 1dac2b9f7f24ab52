# expect: refused
"""Replace the driver, and describe the logits by values that compare as anything."""

import sys

import torch
from torch import nn


class Pairs(nn.Module):
    """Predicts by the pair of tokens alone, and was never trained."""

    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))


class Any(str):
    """Equal to everything."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True


def build(info):
    return Pairs(info["vocab_size"]).to(info["device"])


def train(model, data, clock):
    clock.report(step=1, tokens=1)


def logits(model, tokens):
    sys.modules["driver"].score = lambda candidate, asked: {"shape": Any("(16, 256, 1024)"), "dtype": Any("float32")}
    return model.table[tokens]
