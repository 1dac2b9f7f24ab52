"""Looks whether it has any capability, or root's number on the host."""
# defence: a user of its own, capabilities dropped and bounded
# holds from: landlock
# needs: root


def attack(host):
    with open("/proc/self/status") as f:
        fields = dict(line.split() for line in f if line.startswith("Cap"))
    names = ("CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "CapBnd:")
    return " ".join(name for name in names if int(fields[name], 16)) or None
