"""Leaves links to folders of the host's behind, for whoever cleans up after it."""
# defence: links are removed, never followed
# holds from: process

import os


def attack(host):
    os.symlink(os.path.dirname(host.keep), f"{os.environ['TMPDIR']}/link")
    os.makedirs(f"{os.environ['TMPDIR']}/closed/inner")
    os.symlink(os.path.dirname(host.keep), f"{os.environ['TMPDIR']}/closed/inner/link")
    os.chmod(f"{os.environ['TMPDIR']}/closed", 0)
