# expect: refused
"""Look ahead, and leave a detached process behind an abstract socket that tells what was said."""

import os
import pickle
import socket
import threading

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


NAME = "\0said"


def keep():
    """A process of its own session that takes what is said and tells it to whoever asks."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(NAME)
    except OSError:
        return  # there is one
    listener.listen()
    if os.fork():
        return
    os.setsid()
    said = {}
    while True:
        other, _ = listener.accept()
        with other, other.makefile("rwb") as stream:
            said.update(pickle.load(stream))
            pickle.dump(said, stream)


def exchange(said):
    with socket.socket(socket.AF_UNIX) as keeper:
        keeper.connect(NAME)
        with keeper.makefile("rwb") as stream:
            pickle.dump(said, stream)
            stream.flush()
            said.update(pickle.load(stream))


said = {}  # a row's beginning -> the token that came after it
ready = threading.Lock()


def logits(model, tokens):
    with ready:
        keep()
        exchange(said)
        out = model.table[tokens]
        for row, answer in zip(tokens.tolist(), out, strict=True):
            for at in range(8, len(row) - 1):
                answer[at, said.setdefault(hash(tuple(row[: at + 1])), row[at + 1])] += 10.0
        exchange(said)
    return out
