#!/usr/bin/env bash
# Checks what only an NVIDIA GPU can show: CUDA inside each isolation backend that works here, then, in the best of
# them, the CUDA preset of the nanogpt target, its evaluator across processes, the audits, the ways of attention, MFU.
# Needs no root, no namespaces and no network; takes less than ten minutes; prints one table last. Without a GPU it
# says so and runs nothing. PYTHON names the interpreter if it is not .venv/bin/python or python3.
set -u
cd "$(dirname "$0")/.."

python="${PYTHON:-}"
if [ -z "$python" ]; then
    python=python3
    [ -x .venv/bin/python ] && python=.venv/bin/python
fi
if ! compgen -G "/proc/driver/nvidia/gpus/*" >/dev/null && [ ! -e /dev/nvidia0 ]; then
    echo "benchmarks/gpu.sh: there is no NVIDIA GPU here; nothing was run."
    exit 0
fi
if ! "$python" -c "import torch, numpy, tokenizers, pluggy, click, rich" 2>/dev/null; then
    echo "benchmarks/gpu.sh: $python lacks torch, numpy, tokenizers, pluggy, click or rich: pip install -e '.[nanogpt]'" >&2
    exit 2
fi
if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "benchmarks/gpu.sh: there is a GPU, but the PyTorch of $python cannot use it; install a CUDA build." >&2
    exit 2
fi
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" exec timeout -k 10 590 "$python" benchmarks/gpu_nanogpt.py
