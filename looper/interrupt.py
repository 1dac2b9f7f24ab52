"""What Ctrl-C and its like do to a session."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible(finish: Callable[[], None]) -> Iterator[None]:
    """Within the block the first Ctrl-C calls ``finish``; a second one, SIGTERM or SIGHUP end the block at once.

    What is ignored already stays ignored: that is how ``nohup`` works.

    Args:
        finish: asks for an orderly end; runs inside a signal handler, so it only sets flags.

    Raises:
        KeyboardInterrupt: within the block, once, when it shall end at once; all that follows is ignored.
    """
    asked = False

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if number == signal.SIGINT and not asked:
            asked = True
            finish()
            return
        for handled in before:
            signal.signal(handled, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
