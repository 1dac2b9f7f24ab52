# expect: refused
"""Replace the driver, and answer with arrays where a shape is asked for, so that comparing them fails."""

import sys

import torch
from torch import nn


class Pairs(nn.Module):
    """Predicts by the pair of tokens alone, and was never trained."""

    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))


def build(info):
    driver = sys.modules.get("driver")
    if driver and info["purpose"] == "score":
        ones = torch.ones(2).numpy()
        driver.score = lambda candidate, asked: {"shape": [ones, ones, ones], "dtype": "float32"}
        driver.fingerprint = lambda candidate: ones
    return Pairs(info["vocab_size"]).to(info["device"])


def train(model, data, clock):
    clock.report(step=1, tokens=1)


def logits(model, tokens):
    return model.table[tokens]
