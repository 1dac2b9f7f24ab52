"""The editable file of the nanogpt target, at tiny sizes: both presets, attention, optimiser, data, clock."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from looper.proposers import constants

NANOGPT = Path(__file__).resolve().parents[2] / "targets" / "nanogpt"
sys.path.insert(0, str(NANOGPT))

INFO = {"vocab_size": 60, "context": 32, "bos": 0, "rows": 2, "device": "cpu", "seed": 3, "purpose": "train"}
SMALL: dict[str, dict[str, Any]] = {
    "cpu": {"WIDTH": 64, "BATCH_TOKENS": 64},
    "cuda": {"DEPTH": 5, "WIDTH": 64, "HEAD_DIM": 32, "SHORT_WINDOW": 4, "BIGRAM_ROWS": 50, "BATCH_TOKENS": 128,
             "MICRO_ROWS": 2, "COMPILE": False},
}  # fmt: skip
TOKENS = np.random.default_rng(0).integers(1, 60, size=5000).astype(np.uint16)
TOKENS[1::2] = TOKENS[::2] % 7 + 1  # every second token follows from the one before it


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


train = load(NANOGPT / "train.py")


def edited(folder: Path, preset: str, **values: Any) -> ModuleType:
    """The preset's file with other values, as a candidate has it: what train.py finds from now on."""
    lines = (NANOGPT / f"preset_{preset}.py").read_text().splitlines()
    for name, value in {**SMALL[preset], **values}.items():
        (at,) = (number for number, line in enumerate(lines) if line.startswith(f"{name} = "))
        lines[at] = f"{name} = {value!r}"
    path = folder / f"preset_{preset}.py"
    path.write_text("\n".join(lines))
    sys.modules[f"preset_{preset}"] = load(path)
    return sys.modules[f"preset_{preset}"]


class Steps:
    """A clock that counts steps."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step, self.losses = steps, 0, list[float]()

    def fraction(self) -> float:
        return self.step / self.steps

    def done(self) -> bool:
        return self.step >= self.steps

    def report(self, step: int, tokens: int, loss: float | None = None) -> None:
        self.step, self.tokens = step, tokens
        if loss is not None:
            self.losses.append(loss)


class Data:
    tokens = TOKENS.copy()


def trained(preset: str, steps: int, seed: int = 3) -> tuple[torch.nn.Module, Steps]:
    model, clock = train.build({**INFO, "preset": preset, "seed": seed}), Steps(steps)
    train.train(model, Data, clock)
    return model, clock


@pytest.mark.parametrize("preset", ["cpu", "cuda"])
def test_every_marked_constant_of_a_preset_can_be_read_by_search_and_starts_in_its_range(preset: str) -> None:
    name = f"preset_{preset}.py"
    found = constants.find_constants({name: (NANOGPT / name).read_text()})
    assert len(found) > 20
    assert [key for key, constant in found.items() if not constant.domain.holds(constant.written)] == []


def test_the_presets_name_the_same_constants() -> None:
    names = [
        {line.split(" = ")[0] for line in (NANOGPT / f"preset_{preset}.py").read_text().splitlines() if " = " in line}
        for preset in ("cpu", "cuda")
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize("preset", ["cpu", "cuda"])
def test_training_learns_and_scoring_rebuilds_the_same_model(tmp_path: Path, preset: str) -> None:
    edited(tmp_path, preset)
    model, clock = trained(preset, 41)
    assert clock.losses[-1] < clock.losses[0] - 0.5
    assert clock.tokens == 41 * SMALL[preset]["BATCH_TOKENS"]

    again = train.build({**INFO, "preset": preset, "purpose": "score", "seed": 77})
    again.load_state_dict(model.state_dict(), strict=True)
    tokens = torch.randint(60, (2, 32), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        out = train.logits(again, tokens)
        assert out.shape == (2, 32, 60)
        assert out.dtype == torch.float32
        assert torch.equal(out, train.logits(model, tokens))


@pytest.mark.parametrize("preset", ["cpu", "cuda"])
def test_no_logit_depends_on_a_later_token_or_on_another_row(tmp_path: Path, preset: str) -> None:
    edited(tmp_path, preset, BIGRAM_ROWS=50)
    model, _ = trained(preset, 6)
    tokens = torch.randint(60, (2, 32), generator=torch.Generator().manual_seed(1))
    other = tokens.clone()
    other[0, 20:] = (other[0, 20:] + 1) % 60
    other[1] = (other[1] + 1) % 60
    with torch.inference_mode():
        before, after = train.logits(model, tokens), train.logits(model, other)
    assert torch.equal(before[0, :20], after[0, :20])
    assert not torch.allclose(before[0, 20:], after[0, 20:], atol=1e-3)


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    edited(tmp_path, "cpu", BIGRAM_ROWS=50)
    weights = [trained("cpu", 5, seed)[0].state_dict() for seed in (3, 3, 4)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["unembed.weight"], weights[2]["unembed.weight"])


@pytest.mark.parametrize("window", [None, 1, 5, 16])
def test_fused_attention_is_the_plain_formula_forward_and_backward(window: int | None) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 16, 3, 8, requires_grad=True) for _ in range(3)]
    got, want = (way(window, 16, "cpu")(*inputs) for way in (train.sdpa, train.reference))
    assert torch.allclose(got, want, atol=1e-5)
    grads = [torch.autograd.grad(out, inputs, torch.ones_like(out)) for out in (got, want)]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*grads, strict=True))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [1, 5, 16])
def test_flex_attention_is_the_plain_formula(window: int) -> None:
    """Forward alone: PyTorch has no backward of it on a CPU. On a GPU build() checks both, each time."""
    torch.manual_seed(0)
    inputs = [torch.randn(2, 16, 3, 8) for _ in range(3)]
    assert torch.allclose(
        train.flex_window(window, 16, "cpu")(*inputs), train.reference(window, 16, "cpu")(*inputs), atol=1e-5
    )


def test_a_short_window_reaches_so_many_tokens_back_and_no_further() -> None:
    reach = train.band(3, 8, "cpu")
    assert reach[6].tolist() == [False, False, False, True, True, True, True, False]


def test_a_sparse_update_of_rows_is_adams_own_first_step_and_leaves_other_rows_alone(tmp_path: Path) -> None:
    c = edited(tmp_path, "cpu", BIGRAM_ROWS=50)
    table = torch.nn.Parameter(torch.randn(50, 4))
    dense = torch.nn.Parameter(table.detach().clone())
    start = table.detach().clone()
    rows = torch.tensor([3, 7, 3, 20])
    for p, sparse in ((table, True), (dense, False)):
        (torch.nn.functional.embedding(rows, p, sparse=sparse) * torch.arange(1.0, 5.0)).sum().backward()
        with torch.no_grad():
            train.AdamW(c, [p], lr=0.1).step()
    assert torch.allclose(table[[3, 7, 20]], dense[[3, 7, 20]])
    untouched = [row for row in range(50) if row not in (3, 7, 20)]
    assert torch.equal(table[untouched], start[untouched])


def test_adamw_is_torchs_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(6, 5), torch.nn.Parameter(torch.zeros(6, 5))
    theirs.data.copy_(ours)
    reference = torch.optim.AdamW([theirs], lr=0.03, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.1)
    mean, square, steps = torch.zeros(6, 5), torch.zeros(6, 5), torch.zeros(())
    for _ in range(5):
        theirs.grad = torch.randn(6, 5)
        train.adamw(ours, mean, square, steps.add_(1), theirs.grad, 0.03, 0.1, 0.8, 0.95)
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 64, 64), (1, 16, 64), (3, 64, 16)])
def test_muons_update_has_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(train.orthogonal(x))
    assert values.median() == pytest.approx(1.0, abs=0.1)
    assert values.max() < 1.3


def test_flops_per_token_are_what_torch_counts(tmp_path: Path) -> None:
    edited(tmp_path, "cpu", DEPTH=3)
    model = train.build({**INFO, "preset": "cpu"})
    tokens = torch.zeros(2, 32, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        train.loss_of(model, tokens, tokens).backward()
    products = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    attention = 3 * 12 * 16 * 64  # layers, flops a pair and channel, tokens seen on average, channels
    assert train.flops_per_token(model) == products / tokens.numel() + attention


def test_batches_go_through_the_whole_text_once_an_epoch() -> None:
    batches = train.Batches(TOKENS.copy(), 0, 4, 32, "cpu", seed=1)
    pieces = [batches.next() for _ in range((5000 - 32) // 32 // 4)]
    inputs = torch.cat([inputs for inputs, _ in pieces])
    targets = torch.cat([targets for _, targets in pieces])
    assert (inputs[:, 0] == 0).all()
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    whole = "".join(map(chr, TOKENS))
    starts = [whole.index("".join(map(chr, row))) for row in targets.tolist()]
    assert len(set(starts)) == len(starts)
    assert len({start % 32 for start in starts}) == 1


@pytest.mark.slow
def test_compiled_training_is_compiled_once_leaves_no_trace_and_trains_the_same(tmp_path: Path) -> None:
    """As on CUDA, short of generating code: traced whole, during the warm-up, never again."""
    edited(tmp_path, "cuda", WIDTH=32, HEAD_DIM=16, DEPTH=2, BF16=False, EMBED_BF16=False)
    models = [train.build({**INFO, "preset": "cuda"}) for _ in range(2)]
    compiled = models[1]
    as_on_cuda = {"backend": "aot_eager", "dynamic": False, "fullgraph": True}
    compiled.loss = torch.compile(train.loss_of, **as_on_cuda)
    for group in (*compiled.optimiser.adamw, *compiled.optimiser.muon):
        group.update = torch.compile(group.update, **as_on_cuda)
    for model in models:
        model.bigram.sparse = False  # compiled code has no sparse gradients
    train.warm_up(compiled)
    assert all(torch.equal(a, b) for a, b in zip(*(model.state_dict().values() for model in models), strict=True))

    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for model in models:
        train.train(model, Data, Steps(8))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs > 0
    for a, b in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.allclose(a, b, atol=1e-3)
