# expect: no gain
"""Return something that only says it is a tensor of the right shape, and swallows what is done with it."""

import torch
from torch import nn


class Pairs(nn.Module):
    """Predicts by the pair of tokens alone, and was never trained."""

    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, vocab))


class Pretender(torch.Tensor):
    """Every operation on it gives it back; its shape is what the driver wants to hear."""

    shape = property(lambda self: self.claimed)
    dtype = torch.float32

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return next((item for item in args if isinstance(item, cls)), None)

    def is_floating_point(self):
        return True

    def float(self):
        return self


def build(info):
    return Pairs(info["vocab_size"]).to(info["device"])


def train(model, data, clock):
    clock.report(step=1, tokens=1)


def logits(model, tokens):
    pretender = torch.zeros(1).as_subclass(Pretender)
    pretender.claimed = torch.Size((*tokens.shape, len(model.table)))
    return pretender
