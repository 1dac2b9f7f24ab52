from __future__ import annotations


class Plain:
    def __init__(self, target):
        self.t = target

    def opened(self, s):
        print("opened", s.tag, s.resumed, s.notes, s.home)
        self.s = s

    def tick(self, running):
        pass

    def interrupted(self):
        print("finishing; Ctrl-C again to stop now")

    def decided(self, e):
        print(e.n, e.attempt, e.metrics, e.verdict, e.reason, e.gain, e.hypothesis, flush=True)

    def close(self):
        pass

    def ended(self, s, reason):
        print("ended:", reason)


def view_for(target):
    return Plain(target)
