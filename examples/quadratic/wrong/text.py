"""Wrong: text where a number belongs."""


def answer():
    return "3.0"
