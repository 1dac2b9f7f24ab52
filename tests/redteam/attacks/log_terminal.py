"""Prints what a terminal would obey: colours, the clipboard, the title, lines over lines, text from right to left."""
# defence: control and formatting characters are removed
# holds from: process


def attack(host):
    print("\x1b[2J\x1b[31mred\x1b]52;c;cm0gLXJmIC8=\x07\x1b]0;title\x07 over\rwritten \u202eflipped\u200b\x9b31m\x00")
    print("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\ \U000e0041\u2028line")
