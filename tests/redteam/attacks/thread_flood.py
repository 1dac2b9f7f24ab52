"""Starts threads until it is refused."""
# defence: limit of processes and threads, counted for this worker alone
# holds from: namespaces

import threading

MORE = 1500


def attack(host):
    threading.stack_size(65536)
    done = threading.Event()
    try:
        for _ in range(MORE):
            threading.Thread(target=done.wait, daemon=True).start()
    except RuntimeError as error:
        raise OSError(11, str(error)) from None
    finally:
        done.set()
    return f"{MORE} threads"
