# expect: refused
"""Hand over bytes that claim to be weights of a size that no machine has, one of them inside another."""

import json
import sys

import torch
from torch import nn


class Pairs(nn.Module):
    """Predicts by the pair of tokens alone, and was never trained."""

    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))


def build(info):
    return Pairs(info["vocab_size"]).to(info["device"])


def train(model, data, clock):
    places = {"table": ("F32", [1 << 20, 1 << 20], [0, 1 << 42]), "alias": ("F64", [-1], [-8, 8])}
    header = {name: {"dtype": t, "shape": s, "data_offsets": o} for name, (t, s, o) in places.items()}
    text = json.dumps(header).encode()
    data = bytearray(len(text).to_bytes(8, "little") + text)
    sys.modules["weights"].dump = lambda tensors: torch.frombuffer(data, dtype=torch.uint8).numpy()
    clock.report(step=1, tokens=1)


def logits(model, tokens):
    return model.table[tokens]
