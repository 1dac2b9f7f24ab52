"""Makes files until it is refused."""
# defence: limit of inodes in a tmpfs of its own
# budget: any memory
# holds from: namespaces
# ends: ok oom crash

import os

MORE = 80_000  # than the limit


def attack(host):
    if (free := os.statvfs(os.environ["TMPDIR"]).f_ffree) > 10 * MORE:
        return f"{free} files may be made"  # and not made: this is the disk of the machine
    folder = os.open(os.environ["TMPDIR"], os.O_RDONLY)
    for n in range(MORE):
        os.close(os.open(f"f{n}", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    return f"{MORE} files"
