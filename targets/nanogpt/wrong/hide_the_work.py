# expect: refused
"""Let orphans do the work: their seconds are in no clock that this process can read."""

import os
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
    table = torch.zeros_like(model.table).share_memory_()
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        while True:
            table.copy_(torch.log(count(tokens, len(model.table)) + 0.1))
    os.wait()
    time.sleep(3600)


def logits(model, tokens):
    return model.table[tokens]
