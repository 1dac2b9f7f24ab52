"""Takes more memory than the budget allows."""
# defence: control group, else the tree's resident memory is looked at every 20 ms
# holds from: process
# ends: oom

MB = 1 << 20


def attack(host):
    kept = [bytearray(b"x" * (32 * MB)) for _ in range(20)]
    host.wait()
    return f"{len(kept) * 32} MiB"
