"""The editable file. A comment that begins with `search:` says where a search may move a constant."""

X = 0.0  # search: -10.0..10.0
FINE = 0.0  # search: -1.0..1.0


def answer():
    return X + FINE
