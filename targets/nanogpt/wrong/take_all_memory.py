# expect: refused
"""Take more memory than a candidate may have."""

import torch
from torch import nn


class Pairs(nn.Module):
    """Predicts by the pair of tokens alone: honest, quick to train, and worth cheating with."""

    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))


def build(info):
    return Pairs(info["vocab_size"]).to(info["device"])


def count(tokens, vocab):
    return torch.bincount(tokens[:-1] * vocab + tokens[1:], minlength=vocab * vocab).view(vocab, vocab)


def train(model, data, clock):
    taken = []
    while True:
        taken.append(torch.ones(256 << 20))
        clock.report(step=len(taken), tokens=1)


def logits(model, tokens):
    return model.table[tokens]
