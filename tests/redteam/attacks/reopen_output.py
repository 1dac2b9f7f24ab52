"""Opens its standard streams anew, to empty the log or to read what others wrote."""
# defence: pipes alone
# holds from: process

import os
import stat


def attack(host):
    for fd in (0, 1, 2):
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC))
            return f"standard stream {fd}, emptied"
