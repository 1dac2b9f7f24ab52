# expect: refused
"""Stop the clocks of Python and train for as long as it likes."""

import resource
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
    time.monotonic = time.process_time = time.perf_counter = lambda: 0.0
    resource.getrusage = lambda who: resource.struct_rusage([0.0] * 16)
    clock.elapsed = lambda: 0.0
    tokens = torch.from_numpy(data.tokens.astype("int64"))
    while not clock.done():
        with torch.no_grad():
            model.table.copy_(torch.log(count(tokens, len(model.table)) + 0.1))
        clock.report(step=1, tokens=len(tokens))


def logits(model, tokens):
    return model.table[tokens]
