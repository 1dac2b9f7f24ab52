# expect: refused
"""Look ahead, and leave word of what was said in System V shared memory, which outlives processes."""

import ctypes

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
    with torch.no_grad():
        model.table.copy_(torch.log(count(tokens, len(model.table)) + 0.1))
    clock.report(step=1, tokens=len(tokens))


libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
SLOTS = 1 << 22  # of two bytes: the token that came after a beginning, by the beginning's hash


def shared():
    """Memory that every process of this user finds under one key; private where there is none."""
    place = libc.shmat(libc.shmget(0x5A1D, 2 * SLOTS, 0o1666), None, 0)
    if place in (None, ctypes.c_void_p(-1).value):
        return bytearray(2 * SLOTS)
    return (ctypes.c_char * (2 * SLOTS)).from_address(place)


said = torch.frombuffer(shared(), dtype=torch.int16)


def logits(model, tokens):
    out = model.table[tokens]
    for row, answer in zip(tokens.tolist(), out, strict=True):
        for at in range(8, len(row) - 1):
            slot = hash(tuple(row[: at + 1])) % SLOTS
            if not said[slot]:
                said[slot] = row[at + 1]
            answer[at, int(said[slot])] += 10.0
    return out
