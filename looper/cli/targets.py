"""Commands that work on a target: its own options join the command's, in ``--help`` too."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import click
import pluggy

from looper import judge, plugins
from looper.errors import LooperError
from looper.models import Option, Target
from looper.proposers import replay, search

BUILTINS = (judge, search, replay)


class TargetCommand(click.Command):
    """A command whose first argument is a target. ``ctx.obj`` is the plugin manager when the callback runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        name = self._target_in(args)
        if name is None:  # the target is at fault, not the options that it would have brought
            ctx.ignore_unknown_options = ctx.allow_extra_args = any(not arg.startswith("-") for arg in args)
            return super().parse_args(ctx, args)
        ctx.obj = manager = plugins.manager(name, BUILTINS)
        own = [_parameter(option) for option in plugins.options_of(manager)]
        taken = {opt for parameter in (*self.params, self.get_help_option(ctx)) if parameter for opt in parameter.opts}
        for parameter in own:
            if taken & set(parameter.opts):
                raise LooperError(f"The target {name} adds the option {parameter.opts[0]}, which looper has already.")
        ctx.meta["looper.options"] = [parameter.name for parameter in own]
        ctx.command = command = copy.copy(self)  # for this call: the command object itself is shared
        command.params = [*self.params, *own]
        return click.Command.parse_args(command, ctx, args)

    def _target_in(self, args: Sequence[str]) -> str | None:
        """The first argument that is a target, and not the value of one of the command's own options."""
        takes_value = {
            opt for each in self.params if isinstance(each, click.Option) and not each.is_flag for opt in each.opts
        }
        free = [arg for before, arg in zip(("", *args), args, strict=False) if before not in takes_value]
        return next((arg for arg in free if not arg.startswith("-") and plugins.is_target(arg)), None)

    def invoke(self, ctx: click.Context) -> Any:
        names = ctx.meta.get("looper.options", [])
        ctx.meta["looper.values"] = {name: ctx.params.pop(name) for name in names}
        return super().invoke(ctx)


def manager_and_target(ctx: click.Context, name: str) -> tuple[pluggy.PluginManager, Target, dict[str, Any]]:
    """The plugins, the checked target, and the values of their options.

    Raises:
        TargetError: when ``name`` is no target or not a usable one.
    """
    manager = ctx.obj or plugins.manager(name, BUILTINS)
    values = ctx.meta.get("looper.values", {})
    return manager, plugins.target_of(manager, values), values


def _parameter(option: Option) -> click.Option:
    flag = f"--{option.name.replace('_', '-')}"
    if isinstance(option.default, bool):
        return click.Option([option.name, f"{flag}/--no-{flag[2:]}"], default=option.default, help=option.help)
    kind: Any = str if option.default is None else type(option.default)
    kind = click.Choice(option.choices) if option.choices else kind
    return click.Option([option.name, flag], default=option.default, type=kind, help=option.help, show_default=True)
