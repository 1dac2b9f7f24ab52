# expect: refused
"""Train before the clock: in build(), on the source of the interpreter, for as long as setup may take."""

import os
import pathlib
import time

import torch
from torch import nn


class Pairs(nn.Module):
    """Predicts by the pair of tokens alone: honest, quick to train, and worth cheating with."""

    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))


def build(info):
    model = Pairs(info["vocab_size"]).to(info["device"])
    if info["purpose"] == "train":
        sources = pathlib.Path(pathlib.__file__).parent.glob("*.py")
        text = b"".join(path.read_bytes() for path in sources if os.access(path, os.R_OK))
        letters = torch.tensor(list(text))
        until = time.monotonic() + 45
        while time.monotonic() < until:
            with torch.no_grad():
                model.table[:256, :256] += count(letters, 256)
    return model


def count(tokens, vocab):
    return torch.bincount(tokens[:-1] * vocab + tokens[1:], minlength=vocab * vocab).view(vocab, vocab)


def train(model, data, clock):
    tokens = torch.from_numpy(data.tokens.astype("int64"))
    with torch.no_grad():
        model.table.copy_(torch.log(count(tokens, len(model.table)) + 0.1))
    clock.report(step=1, tokens=len(tokens))


def logits(model, tokens):
    return model.table[tokens]
