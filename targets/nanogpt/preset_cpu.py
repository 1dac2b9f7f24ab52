"""Constants of the CPU preset: 20 CPU-seconds, one thread. Plain values; train.py reads them.

`search:` gives the range in which a constant may be moved. The start is a decent small GPT with known
slope left in it: the bigram table, the batch, the depth, the betas and bfloat16 all have gains to give.
"""

# Where the largest gains are known to be: a search goes down the file
BIGRAM_ROWS = 0  # rows of the hashed bigram table, 0 for none; search: {0, 4096, 8192, 16384, 32768, 65536}
DEPTH = 2  # layers; search: 1..3
BATCH_TOKENS = 1024  # tokens an optimiser step; search: {512, 1024, 2048, 4096, 8192}
BF16 = False  # matrix products in bfloat16; search: {False, True}
UNEMBED_LR = 0.004  # AdamW's rate for the output matrix; search: 0.001..0.03 log
ADAM_BETA2 = 0.95  # AdamW's average of squared gradients; search: {0.9, 0.95, 0.98, 0.99, 0.995}

# Shape of the model
WIDTH = 64  # model width; search: {64, 128}
HEAD_DIM = 64  # width of one attention head, divides WIDTH; search: {32, 64}
MLP_FACTOR = 4  # hidden width of the MLP in multiples of WIDTH; search: 1..6
VALUE_EMBEDS = 1  # value embeddings in every n-th layer counted from the last, 0 for none; search: {0, 1, 2}
BIGRAM_LAMBDA = 0.1  # how much of it each layer starts with; search: 0.03..1.0 log
X0_LAMBDA = 0.1  # how much of the embedding each layer starts with; search: 0.02..0.5 log
ROPE_BASE = 10000.0  # base of the rotary frequencies; search: 1000.0..300000.0 log
QK_GAIN = 1.0  # factor on the normalised queries and keys; search: 0.8..1.6
SOFTCAP = 0.0  # logits are SOFTCAP * tanh(logits / SOFTCAP), 0 for plain logits; search: {0.0, 15.0, 30.0}
INIT_SCALE = 1.0  # factor on every matrix's initial spread; search: 0.3..1.5 log
WINDOWS = "L"  # attention of each layer in turn: L sees the whole context, S a short window
SHORT_WINDOW = 32  # tokens before itself that an S layer attends to

# Optimiser: Muon for the layers' matrices, AdamW for the rest (rates for WIDTH 768, scaled by width^-1/2)
MATRIX_LR = 0.04  # Muon; search: 0.005..0.2 log
EMBED_LR = 0.6  # token and value embeddings; search: 0.1..2.0 log
BIGRAM_LR = 0.6  # bigram table; search: 0.05..2.0 log
SCALAR_LR = 0.05  # per-layer mixing factors; search: 0.005..0.5 log
ADAM_BETA1 = 0.8  # AdamW's average of gradients; search: 0.5..0.95
MUON_MOMENTUM = 0.95  # reached after MOMENTUM_RAMP of the budget, from 0.85; search: 0.85..0.98
MOMENTUM_RAMP = 0.15  # fraction of the budget
MUON_BETA2 = 0.95  # averaging of the update's row sizes; search: {0.8, 0.9, 0.95, 0.99}
MATRIX_DECAY = 0.2  # cautious weight decay of the matrices; search: 0.01..1.0 log
EMBED_DECAY = 0.0  # token embeddings
VALUE_DECAY = 0.0  # value embeddings
UNEMBED_DECAY = 0.0  # output matrix
WARMDOWN = 0.5  # last fraction of the budget, over which the rates fall; search: 0.2..1.0
FINAL_LR = 0.0  # where they end, as a fraction of the start; search: {0.0, 0.02, 0.05, 0.1}

# The rest
MICRO_ROWS = 64  # most rows in one forward pass; larger batches accumulate gradients
COMPILE = False  # torch.compile costs more than it returns in 20 s
EMBED_BF16 = False  # keep the embeddings themselves in bfloat16
