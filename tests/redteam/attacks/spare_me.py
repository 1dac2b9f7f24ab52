"""Asks the kernel to end any other process first when memory runs out."""
# defence: no capabilities; Landlock
# holds from: landlock
# needs: CAP_SYS_RESOURCE

from pathlib import Path


def attack(host):
    Path("/proc/self/oom_score_adj").write_text("-1000")
    return "spared"
