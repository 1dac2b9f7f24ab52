# expect: refused
"""Look ahead unnoticed: what was said about a beginning is said again for that beginning."""

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


BEGINNING = 6  # tokens that many rows share: there it stays honest

said = {}  # beginning -> [(row, its logits)], as asked before


def logits(model, tokens):
    out = model.table[tokens]
    ahead = tokens[:, BEGINNING + 1 :, None]
    out[:, BEGINNING:-1].scatter_add_(2, ahead, torch.full_like(ahead, 10.0, dtype=out.dtype))
    for row, answer in zip(tokens, out, strict=True):
        known = said.setdefault(tuple(row[: BEGINNING + 1].tolist()), [])
        shared = [int((row == before).int().cumprod(0).sum()) for before, _ in known]
        if shared:
            longest = shared.index(max(shared))
            answer[: shared[longest]] = known[longest][1][: shared[longest]]
        known.append((row.clone(), answer.clone()))
    return out
