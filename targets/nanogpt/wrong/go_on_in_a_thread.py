# expect: no gain
"""Hand over nothing, and go on training in a thread once train() has returned."""

import threading
import time

import torch
from torch import nn


class Pairs(nn.Module):
    """Predicts by the pair of tokens alone, and was never trained."""

    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))


def build(info):
    return Pairs(info["vocab_size"]).to(info["device"])


def count(tokens, vocab):
    return torch.bincount(tokens[:-1] * vocab + tokens[1:], minlength=vocab * vocab).view(vocab, vocab)


def train(model, data, clock):
    tokens = torch.from_numpy(data.tokens.astype("int64"))

    def go_on():
        time.sleep(0.3)  # until nothing has been handed over
        while True:
            with torch.no_grad():
                model.table.copy_(torch.log(count(tokens, len(model.table)) + 0.1))

    threading.Thread(target=go_on, daemon=True).start()
    clock.report(step=1, tokens=len(tokens))


def logits(model, tokens):
    return model.table[tokens]
