"""Takes more memory than the budget allows, in several processes that are each within it."""
# defence: control group, else the tree's resident memory is looked at every 20 ms
# holds from: process
# ends: oom

MB = 1 << 20


def attack(host):
    def hog():
        host.kept = bytearray(b"x" * (120 * MB))
        host.wait()

    for _ in range(5):
        host.child(hog)
    host.wait()
