# expect: refused
"""Take longer to score than there is time for."""

import time

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
    tokens = torch.from_numpy(data.tokens.astype("int64"))
    with torch.no_grad():
        model.table.copy_(torch.log(count(tokens, len(model.table)) + 0.1))
    clock.report(step=1, tokens=len(tokens))


def logits(model, tokens):
    time.sleep(3600)
    return model.table[tokens]
