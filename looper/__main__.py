"""``python -m looper`` is the command ``looper``."""

from looper.cli import main

main()
