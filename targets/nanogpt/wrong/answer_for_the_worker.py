# expect: refused
"""Speak on the channel itself, and report a score in place of an answer."""

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
    worker = sys.modules["looper.evaluation.worker"]
    send = worker._send
    worker._send = lambda value: send({"report": {"val_bpb": 0.1}, "status": "ok", "metrics": {"val_bpb": 0.1}})


def logits(model, tokens):
    return model.table[tokens]
