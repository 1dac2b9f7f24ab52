"""Trains a small GPT for a fixed time. This is the file to improve, with the constants beside it.

The constants are in preset_cpu.py or preset_cuda.py, the rest is here, top to bottom: attention, model,
optimiser, data, and at the end the three functions that the locked driver calls:

    build(info) -> model                  setup budget: build; on CUDA also compile and warm up, on made-up tokens
    train(model, data, clock)             run budget: the training tokens exist only from here on
    logits(model, tokens) -> (B, T, V)    scoring: fresh processes that hold the trained weights and no data

`info` holds vocab_size, context, bos, rows (of one scoring batch), device, preset, seed, and purpose: "train"
or "score". What scoring gets is the model's state_dict as it is when `train` returns.
"""

import gc
import importlib
import math
import time

import torch
import torch.nn.functional as F
from torch import nn

# ----------------------------------------------------------------------------------------------------------
# Attention. Every way takes q, k, v of shape (B, T, heads, head_dim) and returns that shape. `window` is how
# many tokens before itself a token attends to, None for all of them.


def sdpa(window, context, device):
    """PyTorch's fused attention. A window needs a mask here, which the fast CUDA kernels do not take."""
    mask = None if window is None else band(window, context, device)

    def attend(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None).transpose(1, 2)

    return attend


def flash_window(window, context, device):
    """FlashAttention's own sliding window, which PyTorch ships without a public name."""

    def attend(q, k, v):
        flash = torch.ops.aten._flash_attention_forward
        return flash(
            q, k, v, None, None, context, context, 0.0, False, False, window_size_left=window, window_size_right=0
        )[0]

    return attend


def flex_window(window, context, device):
    """FlexAttention: a generated kernel that skips the blocks outside the window."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def near(batch, head, query, key):
        return (query >= key) & (query - key <= window)

    blocks = create_block_mask(near, None, None, context, context, device=device)
    attention = torch.compile(flex_attention, dynamic=False) if device == "cuda" else flex_attention

    def attend(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return attention(q, k, v, block_mask=blocks).transpose(1, 2)

    return attend


def reference(window, context, device):
    """The plain formula in float32, to check the fast ways against."""
    allowed = band(context if window is None else window, context, device)

    def attend(q, k, v):
        q, k, v = (x.float().transpose(1, 2) for x in (q, k, v))
        scores = (q @ k.mT / math.sqrt(q.size(-1))).masked_fill(~allowed, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2)

    return attend


def band(window, context, device):
    """(T, T) booleans: may this query (row) attend to that key (column)?"""
    ago = torch.arange(context, device=device)[:, None] - torch.arange(context, device=device)
    return (ago >= 0) & (ago <= window)


BACKENDS = ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")  # of sdpa, for the long layers


def use_backend(name):
    """Let sdpa use this backend alone, everywhere in this process, compiled code included."""
    torch.backends.cuda.enable_flash_sdp(name == "FLASH_ATTENTION")
    torch.backends.cuda.enable_cudnn_sdp(name == "CUDNN_ATTENTION")
    torch.backends.cuda.enable_mem_efficient_sdp(name == "EFFICIENT_ATTENTION")
    torch.backends.cuda.enable_math_sdp(False)
    return sdpa


def choose_attention(c, info, rows):
    """(attend for long layers, attend for short layers); on CUDA the fastest of those that are right here.

    Scoring takes the first one that is right, untimed: every scoring process must compute the same thing.
    """
    context, device = info["context"], info["device"]
    if device == "cpu":
        return sdpa(None, context, device), sdpa(c.SHORT_WINDOW, context, device)
    shape = (rows, context, c.WIDTH // c.HEAD_DIM, c.HEAD_DIM)
    long = {name: (lambda *a, name=name: use_backend(name)(*a)) for name in BACKENDS}
    short = {"flash window": flash_window, "FlexAttention": flex_window}
    long_way = fastest(long, None, shape, info["purpose"])
    short_way = fastest(short, c.SHORT_WINDOW, shape, info["purpose"]) if "S" in c.WINDOWS else None
    return long_way(None, context, device), short_way and short_way(c.SHORT_WINDOW, context, device)


def fastest(ways, window, shape, purpose):
    """The way with the least time for forward and backward. Prints what it saw; RuntimeError when none works."""
    times = {}
    for name, way in ways.items():
        try:
            times[name] = measure(way(window, shape[1], "cuda"), window, shape)
        except Exception as error:  # whatever this GPU or this PyTorch cannot do: the next way may
            print(f"attention, window {window}: {name} is out: {type(error).__name__}: {str(error)[:200]}")
            continue
        print(f"attention, window {window}: {name} {times[name] * 1e3:.2f} ms forward and backward")
        if purpose == "score":
            break
    if not times:
        raise RuntimeError(f"no way of attention works here for shape {shape} and window {window}")
    return ways[min(times, key=times.get)]


def measure(attend, window, shape):
    """Seconds for forward and backward at this shape. ArithmeticError when the numbers are wrong."""
    inputs = [torch.randn(shape, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]

    def both(function, inputs):
        out = function(*inputs)
        return out.detach(), *torch.autograd.grad(out, inputs, torch.ones_like(out))

    few = [x[:1].detach().requires_grad_() for x in inputs]
    for got, want in zip(both(attend, inputs), both(reference(window, shape[1], "cuda"), few), strict=True):
        gap = (got[:1].float() - want.float()).norm() / want.float().norm()
        if not gap < 0.03:  # bfloat16 gives some thousandths, a window of 256 that is one token off 0.06
            raise ArithmeticError(f"it differs from the plain formula by {gap:.3f}")
    best = math.inf
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        both(attend, inputs)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


# ----------------------------------------------------------------------------------------------------------
# Model


def norm(x):
    """RMS norm without a gain."""
    return F.rms_norm(x, (x.size(-1),))


class Attention(nn.Module):
    def __init__(self, c, attend, value_embeds):
        super().__init__()
        self.heads, self.head_dim, self.qk_gain, self.attend = c.WIDTH // c.HEAD_DIM, c.HEAD_DIM, c.QK_GAIN, attend
        self.query = nn.Linear(c.WIDTH, c.WIDTH, bias=False)
        self.key = nn.Linear(c.WIDTH, c.WIDTH, bias=False)
        self.value = nn.Linear(c.WIDTH, c.WIDTH, bias=False)
        self.out = nn.Linear(c.WIDTH, c.WIDTH, bias=False)
        self.gate = nn.Linear(min(32, c.WIDTH), self.heads, bias=False) if value_embeds else None

    def forward(self, x, values, cos, sin):
        heads = (*x.shape[:2], self.heads, self.head_dim)
        q, k, v = self.query(x).view(heads), self.key(x).view(heads), self.value(x).view(heads)
        if self.gate is not None:
            gate = 2 * torch.sigmoid(self.gate(x[..., : self.gate.in_features]))  # 1 at the start
            v = v + gate.unsqueeze(-1) * values.view(heads).to(v.dtype)
        q, k = (norm(rotate(x, cos, sin)) * self.qk_gain for x in (q, k))
        return self.out(self.attend(q.to(v.dtype), k.to(v.dtype), v).reshape(x.shape))


def rotate(x, cos, sin):
    """Rotary position embedding (RoFormer, arXiv 2104.09864) on the two halves of each head."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)


class Layer(nn.Module):
    def __init__(self, c, attend, value_embeds):
        super().__init__()
        self.attention = Attention(c, attend, value_embeds)
        self.up = nn.Linear(c.WIDTH, c.MLP_FACTOR * c.WIDTH, bias=False)
        self.down = nn.Linear(c.MLP_FACTOR * c.WIDTH, c.WIDTH, bias=False)

    def forward(self, x, values, cos, sin):
        x = x + self.attention(norm(x), values, cos, sin)
        return x + self.down(F.relu(self.up(norm(x))).square())


class GPT(nn.Module):
    def __init__(self, c, info, attends):
        super().__init__()
        vocab, context = info["vocab_size"], info["context"]
        self.softcap, self.bf16, self.device = c.SOFTCAP, c.BF16, info["device"]
        kinds = [c.WINDOWS[i % len(c.WINDOWS)] for i in range(c.DEPTH - 1)] + ["L"]
        half = context / 2  # tokens that a token attends to, on average
        self.seen = sum(half if kind == "L" else min(c.SHORT_WINDOW, half) for kind in kinds)
        valued = [c.VALUE_EMBEDS > 0 and (c.DEPTH - 1 - i) % c.VALUE_EMBEDS == 0 for i in range(c.DEPTH)]
        self.embed = nn.Embedding(vocab, c.WIDTH)
        self.values = nn.ModuleList(nn.Embedding(vocab, c.WIDTH) if has else None for has in valued)
        # sparse: only the rows that a batch touches get gradients and updates, the rest of the table costs nothing
        self.bigram = nn.Embedding(c.BIGRAM_ROWS, c.WIDTH, sparse=not c.COMPILE) if c.BIGRAM_ROWS else None
        self.layers = nn.ModuleList(
            Layer(c, attends[kind == "S"], has) for kind, has in zip(kinds, valued, strict=True)
        )
        self.unembed = nn.Linear(c.WIDTH, vocab, bias=False)
        self.residual_mix = nn.Parameter(torch.ones(c.DEPTH))
        self.x0_mix = nn.Parameter(torch.full((c.DEPTH,), c.X0_LAMBDA))
        self.bigram_mix = nn.Parameter(torch.full((c.DEPTH,), c.BIGRAM_LAMBDA)) if c.BIGRAM_ROWS else None
        frequencies = c.ROPE_BASE ** -(torch.arange(0, c.HEAD_DIM, 2) / c.HEAD_DIM)
        angles = torch.arange(context)[:, None, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)  # (T, 1, head_dim / 2)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.initialise(c)

    @torch.no_grad()
    def initialise(self, c):
        """Uniform inputs, zero outputs: every layer starts as the identity, every token as equally likely."""
        spread = c.INIT_SCALE * math.sqrt(3 / c.WIDTH)
        nn.init.normal_(self.embed.weight, std=1.0)
        nn.init.normal_(self.unembed.weight, std=0.001)
        for table in self.values:
            if table is not None:
                nn.init.uniform_(table.weight, -spread, spread)
        if self.bigram is not None:
            nn.init.zeros_(self.bigram.weight)
        for layer in self.layers:
            for linear in (layer.attention.query, layer.attention.key, layer.attention.value, layer.up):
                nn.init.uniform_(linear.weight, -spread, spread)
            nn.init.zeros_(layer.attention.out.weight)
            nn.init.zeros_(layer.down.weight)
            if layer.attention.gate is not None:
                nn.init.zeros_(layer.attention.gate.weight)
        if c.EMBED_BF16:
            for table in (self.embed, self.bigram, *self.values):
                if table is not None:
                    table.to(torch.bfloat16)

    def forward(self, tokens):
        """(B, T) int64 -> (B, T, vocab) float32 logits."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            x = x0 = norm(self.embed(tokens))
            pairs = None if self.bigram is None else self.bigram(self.pair_rows(tokens))
            for i, layer in enumerate(self.layers):
                x = self.residual_mix[i] * x + self.x0_mix[i] * x0
                if pairs is not None:
                    x = x + self.bigram_mix[i] * pairs
                values = None if self.values[i] is None else self.values[i](tokens)
                x = layer(x, values, self.cos, self.sin)
            raw = self.unembed(norm(x) / (self.softcap or 1.0))  # cheaper here than dividing every logit
        return self.softcap * torch.tanh(raw.float()) if self.softcap else raw.float()

    def pair_rows(self, tokens):
        """Row of the bigram table for each token and the one before it: a hash, so that pairs may share one."""
        before = torch.cat((tokens[:, :1], tokens[:, :-1]), dim=1)
        return (before * 36_313 + tokens * 27_191) % self.bigram.num_embeddings


def loss_of(model, inputs, targets):
    """Mean nats a token."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


# ----------------------------------------------------------------------------------------------------------
# Optimiser. The rates are 0-d tensors: as Python numbers, each new value would make torch.compile start anew.


class Group:
    """Parameters that are updated alike; `lr` and `decay` are the values at the start of training."""

    def __init__(self, params, lr, decay=0.0):
        self.params, self.start_lr, self.start_decay = list(params), lr, decay
        self.lr, self.decay = torch.tensor(lr), torch.tensor(decay)


class AdamW(Group):
    """Adam with decoupled decay (arXiv 1711.05101). A sparse gradient updates only the rows it names."""

    def __init__(self, c, params, lr, decay=0.0, compiled=False):
        super().__init__(params, lr, decay)
        self.betas = c.ADAM_BETA1, c.ADAM_BETA2
        self.state = [(torch.zeros_like(p), torch.zeros_like(p), torch.zeros(())) for p in self.params]
        self.row_steps = [torch.zeros(len(p), 1, device=p.device) for p in self.params]
        self.update = torch.compile(adamw, dynamic=False, fullgraph=True) if compiled else adamw

    def step(self):
        for i, (p, (mean, square, steps)) in enumerate(zip(self.params, self.state, strict=True)):
            if p.grad.is_sparse:
                grad = p.grad.coalesce()
                rows, seen = grad.indices()[0], self.row_steps[i]
                touched = p[rows], mean[rows], square[rows], seen[rows]
                adamw(*touched[:3], touched[3].add_(1), grad.values(), self.lr, self.decay, *self.betas)
                for whole, part in zip((p, mean, square, seen), touched, strict=True):
                    whole[rows] = part
            else:
                self.update(p, mean, square, steps.add_(1), p.grad, self.lr, self.decay, *self.betas)


def adamw(p, mean, square, steps, grad, lr, decay, beta1, beta2):
    p.mul_(1 - lr * decay)
    mean.lerp_(grad, 1 - beta1)
    square.lerp_(grad.square(), 1 - beta2)
    size = (square / (1 - beta2**steps)).sqrt() + 1e-10
    p.sub_(lr / (1 - beta1**steps) * mean / size)


class Muon(Group):
    """Momentum whose update is made orthogonal; for matrices of one shape, stacked.

    After Jordan et al. (kellerjordan.github.io/posts/muon), with the Polar Express iteration (arXiv
    2505.16932), row sizes evened out as in NorMuon (arXiv 2510.05491) and cautious decay (arXiv 2510.12402).
    """

    def __init__(self, c, params, lr, decay, compiled):
        super().__init__(params, lr, decay)
        first = self.params[0]
        self.momentum, self.beta2 = torch.tensor(0.85), c.MUON_BETA2
        self.average = torch.zeros(len(self.params), *first.shape, device=first.device)
        rows_are_long = first.size(0) >= first.size(1)
        shape = (first.size(0), 1) if rows_are_long else (1, first.size(1))
        self.sizes = torch.zeros(len(self.params), *shape, device=first.device)
        self.update = torch.compile(muon, dynamic=False, fullgraph=True) if compiled else muon

    def step(self):
        stacked = torch.stack([p.detach() for p in self.params])
        grads = torch.stack([p.grad for p in self.params])
        self.update(stacked, grads, self.average, self.sizes, self.lr, self.decay, self.momentum, self.beta2)
        torch._foreach_copy_([p.detach() for p in self.params], list(stacked.unbind(0)))


POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def muon(stacked, grads, average, sizes, lr, decay, momentum, beta2):
    average.lerp_(grads, 1 - momentum)
    update = orthogonal(grads.lerp(average, momentum))
    axis = -1 if sizes.size(-1) == 1 else -2
    sizes.lerp_(update.square().mean(dim=axis, keepdim=True), 1 - beta2)
    evened = update * sizes.clamp_min(1e-10).rsqrt()
    update = evened * (norms(update) / norms(evened).clamp_min(1e-10))
    lr = lr * max(1.0, stacked.size(-2) / stacked.size(-1)) ** 0.5
    agree = (update * stacked) >= 0  # decay only where the update itself shrinks the weight
    stacked.sub_(lr * (update + decay * stacked * agree))


def orthogonal(x):
    """(K, m, n) -> the same with all singular values near 1. In bfloat16 on a GPU, where that is fast."""
    work = x.bfloat16() if x.is_cuda else x
    work = work / (norms(work) * 1.02 + 1e-6)
    tall = work.size(-2) > work.size(-1)
    work = work.mT if tall else work
    for a, b, c in POLAR_EXPRESS:
        square = work @ work.mT
        work = a * work + (b * square + c * square @ square) @ work
    return (work.mT if tall else work).to(x.dtype)


def norms(x):
    """Frobenius norm of each matrix, (K, 1, 1)."""
    return x.float().square().sum(dim=(-2, -1), keepdim=True).sqrt().to(x.dtype)


class Optimiser:
    def __init__(self, c, model):
        scale, compiled = (c.WIDTH / 768) ** -0.5, c.COMPILE
        tables = [table.weight for table in model.values if table is not None]
        mixes = [p for p in (model.residual_mix, model.x0_mix, model.bigram_mix) if p is not None]
        matrices = {}
        for p in model.layers.parameters():
            matrices.setdefault(p.shape, []).append(p)
        self.c = c
        self.adamw = [
            AdamW(c, [model.embed.weight], c.EMBED_LR * scale, c.EMBED_DECAY, compiled),
            AdamW(c, tables, c.EMBED_LR * scale, c.VALUE_DECAY, compiled),
            AdamW(c, [model.unembed.weight], c.UNEMBED_LR * scale, c.UNEMBED_DECAY, compiled),
            AdamW(c, mixes, c.SCALAR_LR, 0.0, compiled),
        ]
        if model.bigram is not None:
            self.adamw.append(AdamW(c, [model.bigram.weight], c.BIGRAM_LR * scale, 0.0, compiled))
        self.muon = [Muon(c, same, c.MATRIX_LR, c.MATRIX_DECAY, compiled) for same in matrices.values()]

    @torch.no_grad()
    def step(self, progress):
        """One update; `progress` is the fraction of the budget that is used, 0 to 1."""
        left = min(1.0, (1 - progress) / self.c.WARMDOWN)
        rate = self.c.FINAL_LR + (1 - self.c.FINAL_LR) * left
        for group in (*self.adamw, *self.muon):
            group.lr.fill_(group.start_lr * rate)
        for group in self.muon:
            group.decay.fill_(group.start_decay * (1 - progress))
            ramp = min(1.0, progress / self.c.MOMENTUM_RAMP)
            group.momentum.fill_(0.85 + ramp * (self.c.MUON_MOMENTUM - 0.85))
        for group in (*self.adamw, *self.muon):
            group.step()
            for p in group.params:
                p.grad = None


# ----------------------------------------------------------------------------------------------------------
# Data


class Batches:
    """Endless (inputs, targets) of shape (rows, T): the stream cut every T tokens, in a new order each epoch.

    A row's inputs are BOS and then all of its targets but the last, as in scoring.
    """

    def __init__(self, tokens, bos, rows, context, device, seed):
        self.tokens = torch.from_numpy(tokens.view("int16")).to(device)
        self.bos, self.rows, self.context = bos, rows, context
        self.random = torch.Generator().manual_seed(seed)
        self.starts = torch.empty(0, dtype=torch.int64)

    def next(self):
        while len(self.starts) < self.rows:
            shift = int(torch.randint(self.context, (), generator=self.random))
            pieces = torch.arange(shift, len(self.tokens) - self.context, self.context)
            order = torch.randperm(len(pieces), generator=self.random)
            self.starts = torch.cat((self.starts, pieces[order]))
        take, self.starts = self.starts[: self.rows], self.starts[self.rows :]
        at = take.to(self.tokens.device)[:, None] + torch.arange(self.context, device=self.tokens.device)
        targets = self.tokens[at].long() & 0xFFFF
        return torch.cat((torch.full_like(targets[:, :1], self.bos), targets[:, :-1]), dim=1), targets


# ----------------------------------------------------------------------------------------------------------
# What the driver calls


def build(info):
    c = importlib.import_module(f"preset_{info['preset']}")
    training = info["purpose"] == "train"
    torch.manual_seed(info["seed"])
    rows = micro_rows(c, info) if training else info["rows"]
    model = GPT(c, info, choose_attention(c, info, rows)).to(info["device"])
    if not training:
        return model.eval()
    model.info, model.rows, model.accumulate = info, rows, c.BATCH_TOKENS // (rows * info["context"])
    model.optimiser = Optimiser(c, model)
    model.loss = torch.compile(loss_of, dynamic=False) if c.COMPILE else loss_of
    if c.COMPILE:
        warm_up(model)
    return model


GIB_PER_ROW = 0.5  # of a forward and backward pass over 2048 tokens at 9 layers of width 640


def micro_rows(c, info):
    """Rows of one forward pass: as many as the batch holds, MICRO_ROWS allows and the GPU's memory takes."""
    rows = min(c.MICRO_ROWS, c.BATCH_TOKENS // info["context"])
    if info["device"] == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        gib_per_row = GIB_PER_ROW * (c.DEPTH * c.WIDTH) / (9 * 640)
        while rows > 1 and rows * gib_per_row > 0.85 * memory:
            rows //= 2
    return rows


def warm_up(model):
    """Compile everything by two steps on made-up tokens, then put weights and optimiser back to the start."""
    torch._dynamo.config.recompile_limit = 64  # the optimiser is compiled once for every shape
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    shape = (model.rows, model.info["context"])
    # two tensors: code compiled for the same one twice would be compiled anew in the first step of training
    inputs, targets = torch.randint(model.info["vocab_size"], (2, *shape), device=model.info["device"])
    for _ in range(2):
        model.loss(model, inputs.clone(), targets.clone()).backward()
        model.optimiser.step(progress=0.0)
    model.load_state_dict(weights)
    for group in model.optimiser.adamw:
        for state in group.state:
            for tensor in state:
                tensor.zero_()
    for group in model.optimiser.muon:
        group.average.zero_()
        group.sizes.zero_()


def train(model, data, clock):
    info, cuda = model.info, model.info["device"] == "cuda"
    batches = Batches(data.tokens, info["bos"], model.rows, info["context"], info["device"], info["seed"])
    gc.collect()
    gc.disable()  # a collection in the middle of a run costs as much as several steps
    step = 0
    while not clock.done():
        for _ in range(model.accumulate):
            loss = model.loss(model, *batches.next())
            (loss / model.accumulate).backward()
        model.optimiser.step(clock.fraction())
        if cuda:
            torch.cuda.synchronize()  # else the clock would run ahead of the GPU
        step += 1
        tokens = step * model.accumulate * model.rows * info["context"]
        clock.report(step=step, tokens=tokens, loss=loss.item() if step % 10 == 1 else None)
    gc.enable()


def logits(model, tokens):
    return model(tokens)


def flops_per_token(model):
    """Of training, forward and backward, for the record: 6 a matrix weight, 12 a query-key pair and channel."""
    matrices = sum(p.numel() for p in (*model.layers.parameters(), model.unembed.weight))
    return 6 * matrices + 12 * model.seen * model.unembed.in_features
