"""The commands that read a session: status, log, show, diff, check-ledger. They never write anything."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from looper.errors import LedgerError, SessionError
from looper.evaluation.logtext import one_line
from looper.gitrepo import Git, repository_of
from looper.ledger import read
from looper.models import Experiment, Metric, Verdict
from looper.places import FOLDER, existing, home_of
from looper.report import detail, rows, words
from looper.report import status as standing
from looper.report.terminal import output, visible
from looper.report.trail import Trail

#: The words of karpathy/autoresearch's results.tsv; whatever has no metric is a crash there.
TSV_STATUS = {"keep": "keep", "crash": "crash", "timeout": "crash", "invalid": "crash"}  # the others: discard

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
REPO = click.option(
    "--repo",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the repository or the target; default: this one.",
)
TAG = click.option("--tag", help="The session; default: the latest.")


@click.command()
@click.argument("tag", required=False)
@AS_JSON
@REPO
def status(tag: str | None, as_json: bool, repo: Path) -> None:
    """How a session stands: the latest one, or TAG."""
    ledger = existing(home_of(repo), tag)
    trail = Trail.of(read(ledger))
    metric = trail.metric
    found = standing.status(trail, ledger)
    if as_json:
        return _print_json(found)
    for line in standing.lines(found, metric):
        _print(line)
    _print_rows(trail.record.history[-standing.LAST :], metric)


@click.command()
@click.argument("tag", required=False)
@AS_JSON
@click.option("--tsv", is_flag=True, help="Print the columns of autoresearch's results.tsv.")
@click.option("-n", "last", type=click.IntRange(min=1), help="Only the last so many.")
@click.option("--verdict", type=click.Choice(get_args(Verdict)), help="Only those with this verdict.")
@REPO
def log(tag: str | None, as_json: bool, tsv: bool, last: int | None, verdict: str | None, repo: Path) -> None:
    """Every experiment of a session: the latest one, or TAG."""
    if as_json and tsv:
        raise click.UsageError("--json and --tsv are two formats: give one of them.")
    trail = Trail.of(read(existing(home_of(repo), tag)))
    metric = trail.metric
    chosen = [e for e in trail.experiments() if verdict is None or e.verdict == verdict]
    chosen = chosen[-last:] if last else chosen
    if as_json:
        _print_json([trail.plain(experiment) for experiment in chosen])
    elif tsv:
        _write(_tsv(trail, chosen, metric))
    else:
        _print_rows(chosen, metric)


@click.command()
@click.argument("n", type=click.IntRange(min=0))
@TAG
@AS_JSON
@REPO
def show(n: int, tag: str | None, as_json: bool, repo: Path) -> None:
    """Everything about experiment N."""
    trail = Trail.of(read(existing(home_of(repo), tag)))
    experiment = trail.experiment(n)
    full = trail.in_full(experiment)
    if as_json:
        return _print_json(full)
    for line in detail.lines(experiment, full, trail.metric):
        _print(line)


@click.command()
@click.argument("n", type=click.IntRange(min=0))
@TAG
@AS_JSON
@REPO
def diff(n: int, tag: str | None, as_json: bool, repo: Path) -> None:
    """What experiment N changed in the champion of its moment; in a pipe, a patch that git apply takes."""
    home = home_of(repo)
    experiment = Trail.of(read(existing(home, tag))).experiment(n)
    patch = _diff(home, experiment)
    if as_json:
        text = patch.decode(errors="replace")
        return _print_json({"n": n, "parent": experiment.parent, "commit": experiment.commit, "diff": text})
    if not patch:
        why = "it is the baseline" if n == 0 else f"{experiment.verdict}: {one_line(experiment.reason)}"
        return click.echo(f"Experiment {n} has no change of its own ({why}).", err=True)
    if not sys.stdout.isatty():
        return _write(patch)
    for line in patch.decode(errors="replace").split("\n")[:-1]:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        _print(click.style(visible(line), fg=colour, bold=line.startswith(("diff ", "+++", "---"))))


@click.command("check-ledger")
@click.argument("tag", required=False)
@AS_JSON
@REPO
def check_ledger(tag: str | None, as_json: bool, repo: Path) -> None:
    """Whether the ledger of a session is what looper once wrote: the latest one, or TAG.

    Every line must carry the hash of the line before it, and every event must follow from the ones before. Lines
    cut off at the end leave no trace in the ledger itself; the branch is then ahead of it, and looper run says so.
    """
    path = existing(home_of(repo), tag)
    found: dict[str, Any] = {"ledger": str(path), "ok": True, "lines": 0, "torn_bytes": 0, "problem": ""}
    try:
        found["lines"] = len(Trail.of(read(path)).times)
        found["torn_bytes"] = len(path.read_bytes().rpartition(b"\n")[2])
    except LedgerError as error:
        found |= {"ok": False, "problem": str(error)}
    if as_json:
        _print_json(found)
    elif found["ok"]:
        count = words.plural(found["lines"], "line")
        _print(f"{path}: {count}, the chain is whole, every event follows from the ones before.")
        if found["torn_bytes"]:
            _print(f"Its last line is torn ({found['torn_bytes']} bytes); the next looper run sets it aside.")
    else:
        _print(found["problem"])
    sys.exit(not found["ok"])


def _diff(home: Path, experiment: Experiment) -> bytes:
    """The patch from the parent to the candidate.

    Raises:
        SessionError: when the commits are in no repository here.
    """
    own, around = home / FOLDER / "repo.git", repository_of(home)
    for git_dir in (own if own.exists() else None, around[1] if around else None):
        if git_dir and (git := Git(git_dir)).resolve(experiment.commit):
            options = ("--no-color", "--no-ext-diff", "--no-textconv", "--full-index", "--binary")
            return git("diff", *options, experiment.parent, experiment.commit)
    raise SessionError(
        f"The commit {experiment.commit[:12]} of experiment {experiment.n} is in no repository of {home}. "
        "It was removed, or the ledger was copied without its repository."
    )


def _tsv(trail: Trail, chosen: list[Experiment], metric: Metric) -> str:
    """autoresearch's columns, with the metric's own name; what was not measured stays empty, never 0."""
    lines = [("commit", metric.name, "memory_gb", "status", "description")]
    for experiment in chosen:
        if experiment.verdict is not None:
            value, memory = experiment.metrics.get(metric.name), trail.plain(experiment)["peak_memory_mb"]
            lines.append(
                (
                    experiment.commit[:7],
                    "" if value is None else f"{value:.10g}",
                    "" if memory is None else f"{memory / 1024:.3g}",
                    TSV_STATUS.get(experiment.verdict, "discard"),
                    one_line(experiment.hypothesis),
                )
            )
    return "".join("\t".join(line) + "\n" for line in lines)


def _print_rows(experiments: list[Experiment], metric: Metric) -> None:
    if not experiments:
        return click.echo("No experiments to show.", err=True)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    fit = _fitting(width)
    _print(click.style(fit(str(rows.heading(metric, width))), dim=True))
    for experiment in experiments:
        row = rows.row(experiment, metric, width)
        verdict = click.style(row.verdict, fg=words.COLOURS.get(row.verdict.strip()))
        line = fit(str(row))
        # coloured only when it is whole: a cut line must not end inside a colour
        _print(line.replace(row.verdict, verdict, 1) if row.verdict in line else line)


def _fitting(width: int | None) -> Callable[[str], str]:
    """Cuts a line to the terminal's width; leaves it whole where there is no terminal."""
    if width is None:
        return str
    from rich.cells import cell_len, set_cell_size

    return lambda line: line if cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…"


def _print(line: str) -> None:
    click.echo(line, file=output())


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _write(data: str | bytes) -> None:
    click.echo(data, nl=False)
