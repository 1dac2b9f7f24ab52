"""The command line, thin. Commands are imported when they are called, so that ``--help`` answers at once."""

from __future__ import annotations

import importlib
import sys

import click

from looper import __version__
from looper.errors import LooperError

COMMANDS = {
    "run": "looper.cli.run",
    "check": "looper.cli.check",
    "status": "looper.cli.read",
    "log": "looper.cli.read",
    "show": "looper.cli.read",
    "diff": "looper.cli.read",
    "check-ledger": "looper.cli.read",
    "doctor": "looper.cli.doctor",
}


class Commands(click.Group):
    """A group whose commands live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="looper")
def cli() -> None:
    """Optimise anything that can be scored: an editable file, a locked evaluator, a fixed budget, keep or revert.

    Start with: looper run targets/nanogpt
    """


def main() -> None:
    """The command ``looper``. Mistakes that the user can mend end with one message and status 2."""
    try:
        cli(standalone_mode=False)
    except LooperError as error:
        click.echo(f"looper: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output left, as `looper log | head` does
        sys.stderr.close()
        sys.exit(1)
