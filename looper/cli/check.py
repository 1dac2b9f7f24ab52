"""``looper check``: does a target's evaluator run the unedited files, and refuse every candidate in ``wrong/``?"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from looper import hardware
from looper.cli.isolating import isolation_options, wish_of
from looper.cli.targets import TargetCommand, manager_and_target
from looper.cli.wrong import Wrong, wrong_candidates
from looper.identity import check_files, locked_files
from looper.isolation import choose
from looper.models import Experiment, Measurement, Target
from looper.plugins import facts_of
from looper.report import conformance
from looper.report.conformance import Finding, Ticker
from looper.report.terminal import output
from looper.runner import Done, Job, LocalRunner, slots_for
from looper.workspace import Workspace, locate


@click.command(cls=TargetCommand)
@click.argument("target")
@click.option("--slots", type=click.IntRange(min=1), help="Candidates at once; default: one a GPU, or one a core.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@isolation_options
@click.pass_context
def check(ctx: click.Context, /, target: str, slots: int | None, as_json: bool, **isolation: Any) -> None:
    """Measure the unedited files of TARGET, and every candidate in its folder wrong/: each must be refused.

    A candidate is a file wrong/NAME.py in place of the first editable file, or a folder wrong/NAME with several. One
    that begins with the comment "# expect: no gain" may run, but not score better than the unedited files.
    """
    plugins, chosen, _ = manager_and_target(ctx, target)
    confined = choose(wish_of(isolation))
    facts = facts_of(plugins, chosen)
    with TemporaryDirectory(prefix="looper-check-") as folder:
        home, git_dir = locate(chosen.root)
        place = (home if git_dir else Path(folder), git_dir)  # of a target in no repository, nothing stays behind
        files = check_files(chosen, Workspace(chosen.root, "check", place).files_on_disk())
        candidates = wrong_candidates(chosen, files)
        devices = slots_for(chosen, slots, hardware.gpus())
        runner = LocalRunner(
            chosen, Path(folder, "slots"), locked_files(chosen, files), facts, devices, confined.sandbox
        )
        try:
            baseline, findings = _examine(chosen, files, candidates, runner, quiet=as_json)
            runner.check_environment()
        finally:
            runner.close()
    ok = baseline.status == "ok" and all(found.ok for found in findings)
    if as_json:
        click.echo(json.dumps(conformance.plain(chosen, baseline, findings, ok), indent=2, ensure_ascii=False))
    else:
        click.echo(conformance.summary(baseline, findings), file=output())
    sys.exit(not ok)


def _examine(
    target: Target, files: Mapping[str, bytes], candidates: Sequence[Wrong], runner: LocalRunner, quiet: bool
) -> tuple[Measurement, list[Finding]]:
    """Measure everything, telling of each as it is done; without a score of the baseline, of nothing else."""
    jobs = [_job(0, "the unedited files", {name: files[name] for name in target.editable})]
    jobs += [_job(n, wrong.name, wrong.files) for n, wrong in enumerate(candidates, start=1)]
    ticker = Ticker(target.budget, len(jobs))
    waiting: list[Done] = []  # until the baseline is there to compare with
    baseline, findings = None, list[Finding]()

    def tell(lines: Iterator[str]) -> None:
        ticker.erase()
        if not quiet:
            click.echo("\n".join(lines), file=output())

    for done in _measured(runner, jobs, lambda: ticker.tick(runner.running(), len(findings) + len(waiting))):
        if done.job.experiment.n == 0:
            baseline = done.measurement
            tell(conformance.baseline_lines(target, baseline))
            if baseline.status != "ok":
                return baseline, []
        else:
            waiting.append(done)
        while baseline and waiting:
            late = waiting.pop(0)
            wrong = candidates[late.job.experiment.n - 1]
            found = conformance.finding(
                wrong.name, wrong.tries, wrong.expect, late.measurement, baseline, target.metric
            )
            findings.append(found)
            tell(conformance.lines(found))
            if found.outcome == "tampered":
                return baseline, findings
    assert baseline is not None, "the runner lost the baseline"
    return baseline, findings


def _measured(runner: LocalRunner, jobs: list[Job], on_tick: Callable[[], None]) -> Iterator[Done]:
    """Every job's end, in the order in which they end."""
    left = list(jobs)
    while left or runner.busy:
        while left and runner.free:
            runner.submit(left.pop(0))
        yield from runner.wait(on_tick)


def _job(n: int, name: str, files: Mapping[str, bytes]) -> Job:
    experiment = Experiment(n=n, attempt=1, parent="", commit="", tree="", proposer="check", hypothesis=name, meta={})
    return Job(experiment, files, secrets.randbits(63))
