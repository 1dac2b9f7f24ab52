"""The command line, thin. Commands are imported when they are called, so that ``--help`` answers at once."""

from __future__ import annotations

import importlib
import sys

import click

from looper import __version__
from looper.errors import LooperError

COMMANDS = {
    "run": ("looper.cli.run", "Optimise a target, or go on with it."),
    "status": ("looper.cli.read", "How a session stands."),
    "log": ("looper.cli.read", "Every experiment of a session."),
    "show": ("looper.cli.read", "Everything about one experiment."),
    "diff": ("looper.cli.read", "What one experiment changed."),
    "check": ("looper.cli.check", "Run a target's baseline and the wrong candidates that it must refuse."),
    "check-ledger": ("looper.cli.read", "Check that a session's ledger is whole and unedited."),
    "doctor": ("looper.cli.doctor", "What this machine offers."),
}


class Commands(click.Group):
    """A group whose commands live in modules of their own, which its own help does not import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


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
