"""Reports progress that is no number, by the thousand, under names that a terminal obeys."""
# defence: progress is shown, checked, thinned out, never believed
# holds from: process

from looper.evaluation import worker


def attack(host):
    for _ in range(2000):
        worker._send({"progress": {"\x1b[31mloss\u202e": float("nan"), "of": 10**30}})
