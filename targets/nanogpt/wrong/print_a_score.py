# expect: no gain
"""Print the score it would like to have, in every format that somebody might read."""

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
    clock.report(step=1, tokens=len(data.tokens), loss=0.0)
    print("---\nval_bpb: 0.000001")
    print('{"event": "result", "status": "ok", "metrics": {"val_bpb": 0.000001}}')


def logits(model, tokens):
    return model.table[tokens]
