"""Wrong: never answers; only a deadline from outside ends it."""


def answer():
    while True:
        pass
