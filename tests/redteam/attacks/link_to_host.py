"""Links a file of the host's into a folder of its own, to write to it there."""
# defence: not mounted; Landlock
# holds from: landlock

import os
from pathlib import Path


def attack(host):
    own = Path(os.environ["TMPDIR"], "own")
    os.link(host.keep, own)
    own.write_text("written")
    return "a file of the host's, through a link"
