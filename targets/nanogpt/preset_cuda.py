"""Constants of the CUDA preset: 300 s on one GPU. Plain values; train.py reads them.

It starts where long published runs of this recipe ended: half the batch, a ninth layer at width 640, four
short windows to one long, higher embedding rates, decayed embeddings, a larger rotary base, a smaller
initial spread and a longer warmdown. `search:` gives the range in which a constant may be moved.
"""

# Shape of the model
DEPTH = 9  # layers; search: 6..14
WIDTH = 640  # model width; search: {512, 640, 768, 896}
HEAD_DIM = 128  # width of one attention head, divides WIDTH; search: {64, 128}
MLP_FACTOR = 4  # hidden width of the MLP in multiples of WIDTH; search: 3..6
WINDOWS = "SSSSL"  # attention of each layer in turn: L sees the whole context, S a short window; the last layer is L
SHORT_WINDOW = 256  # tokens before itself that an S layer attends to, an eighth; search: {128, 256, 512}
VALUE_EMBEDS = 2  # value embeddings in every n-th layer counted from the last, 0 for none; search: {0, 1, 2, 3}
BIGRAM_ROWS = 40960  # rows of the hashed bigram table, 0 for none; search: {0, 16384, 40960, 131072}
BIGRAM_LAMBDA = 0.1  # how much of it each layer starts with; search: 0.03..0.3 log
X0_LAMBDA = 0.05  # how much of the embedding each layer starts with; search: 0.01..0.3 log
ROPE_BASE = 200000.0  # base of the rotary frequencies; search: 10000.0..1000000.0 log
QK_GAIN = 1.1  # factor on the normalised queries and keys; search: 0.9..1.4
SOFTCAP = 15.0  # logits are SOFTCAP * tanh(logits / SOFTCAP), 0 for plain logits; search: {0.0, 8.0, 15.0, 30.0}
INIT_SCALE = 0.68  # factor on every matrix's initial spread; search: 0.4..1.2 log

# What one step sees
BATCH_TOKENS = 262144  # tokens an optimiser step; search: {131072, 262144, 524288}
MICRO_ROWS = 128  # most rows in one forward pass, halved until they fit the GPU's memory

# Optimiser: Muon for the layers' matrices, AdamW for the rest (rates for WIDTH 768, scaled by width^-1/2)
MATRIX_LR = 0.04  # Muon; search: 0.015..0.08 log
EMBED_LR = 0.9  # token and value embeddings; search: 0.4..1.5 log
BIGRAM_LR = 0.9  # bigram table; search: 0.1..2.0 log
UNEMBED_LR = 0.005  # output matrix; search: 0.002..0.012 log
SCALAR_LR = 0.5  # per-layer mixing factors; search: 0.1..1.0 log
ADAM_BETA1 = 0.8  # AdamW's average of gradients; search: 0.7..0.9
ADAM_BETA2 = 0.95  # AdamW's average of squared gradients; search: {0.9, 0.95, 0.98, 0.99}
MUON_MOMENTUM = 0.95  # reached after MOMENTUM_RAMP of the budget, from 0.85; search: 0.92..0.98
MOMENTUM_RAMP = 0.15  # fraction of the budget
MUON_BETA2 = 0.9  # averaging of the update's row sizes; search: {0.9, 0.95, 0.99}
MATRIX_DECAY = 0.2  # cautious weight decay of the matrices; search: 0.05..0.5 log
EMBED_DECAY = 0.001  # token embeddings; search: 0.0003..0.01 log
VALUE_DECAY = 0.003  # value embeddings; search: 0.0003..0.01 log
UNEMBED_DECAY = 0.01  # output matrix; search: 0.003..0.05 log
WARMDOWN = 0.75  # last fraction of the budget, over which the rates fall; search: 0.5..0.95
FINAL_LR = 0.05  # where they end, as a fraction of the start; search: {0.0, 0.02, 0.05, 0.1}

# Arithmetic
BF16 = True  # matrix products in bfloat16
COMPILE = True  # torch.compile of the loss and the optimiser, during the setup budget
EMBED_BF16 = True  # keep the embeddings themselves in bfloat16
