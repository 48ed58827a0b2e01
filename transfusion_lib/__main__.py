"""The command line: ``transfusion``, or ``python -m transfusion_lib``.

Exit status 0 is success, 2 a mistake of the user's, 1 a failure, 75 a stop on request: the same command goes on from
there. Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
"""

import functools
import io
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transfusion_lib import __version__
from transfusion_lib.errors import (
    DamagedError,
    DataError,
    InterruptedRunError,
    ToldError,
    TransfusionError,
    UserError,
    printable,
    unknown,
)

if TYPE_CHECKING:
    from transfusion_lib.analysis.audit import Compared
    from transfusion_lib.chapters.kit.study import Study
    from transfusion_lib.data import Datasheet
    from transfusion_lib.runs import Run, Standing, Todo
    from transfusion_lib.runs.records import Records
    from transfusion_lib.runs.store import Store
    from transfusion_lib.spec import RunSpec
    from transfusion_lib.training.train import Progress

app = typer.Typer(
    help="Transfusion, reproduced: make the book, one chapter, one run; look at data, networks and runs.",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich would triple the time to the first line of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _chapter_names(incomplete: str) -> list[str]:
    from transfusion_lib.book import project

    return [name for name in project.find().chapter_names if name.startswith(incomplete)]


def _profile_names(incomplete: str) -> list[str]:
    from transfusion_lib.book import profiles, project

    return [name for name in profiles.names(project.find()) if name.startswith(incomplete)]


def _parameter_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete ``-p ste`` to ``steps=``, and ``-p steps=`` to its default, from the chapter's own cell."""
    from transfusion_lib.book import parameters, project

    name, equals, _ = incomplete.partition("=")
    given = (ctx.params.get("name"), ctx.params.get("study"), *ctx.args)  # an unfinished -p leaves the name unparsed
    chapter = next(filter(None, given), None)
    here = project.find()
    if chapter not in here.chapter_names:
        return []
    found = parameters.declared(here.chapter(chapter))
    if equals:
        return [f"{one.name}={one.example}" for one in found if one.name == name]
    return [f"{one.name}=" for one in found if one.name.startswith(incomplete)]


BENCHMARKS = ("train", "gpu", "data", "similarity", "store", "book", "newcomer")


def _engine_names(incomplete: str) -> list[str]:
    return [name for name in ("auto", "here", "processes", "ray") if name.startswith(incomplete)]


ProfileOption = Annotated[
    str, typer.Option("--profile", metavar="PROFILE", help="quick, published or paper.", autocompletion=_profile_names)
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="Train what is missing, also where the profile only reads records.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--parameter",
        metavar="KEY=VALUE",
        help="Set one parameter; repeat for more.",
        autocompletion=_parameter_names,
    ),
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the page in the browser too.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print which runs exist, which would train.")]
ChapterName = Annotated[str, typer.Argument(autocompletion=_chapter_names)]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", autocompletion=_chapter_names)]


@app.command(epilog="Example: transfusion book --profile quick")
def book(
    profile: ProfileOption = "quick",
    only: Annotated[
        str | None,
        typer.Option(metavar="CHAPTER", help="Leave all other chapters out.", autocompletion=_chapter_names),
    ] = None,
    live: LiveOption = False,
    browse: OpenOption = False,
) -> None:
    """Make the book and print the page to open."""
    from transfusion_lib.book import build, project

    made = build.book(project.find(), profile=profile, only=only, live=live, say=_say, allowed=_allowed)
    _open(made, browse=browse)


@app.command(epilog="Example: transfusion chapter convergence -p seeds=[0,1]")
def chapter(
    name: ChapterName,
    assignments: Assignments = None,
    profile: ProfileOption = "quick",
    list_parameters: Annotated[bool, typer.Option("--list-parameters", help="Print them and stop.")] = False,
    dry_run: DryRunOption = False,
    live: LiveOption = False,
    browse: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make one chapter with parameters of your own and print its page."""
    from transfusion_lib.book import build, parameters, profiles, project

    here = project.find()
    given = assignments or []
    if list_parameters:
        one = here.chapter(name)
        values = parameters.effective(one, build.resolve(one, profiles.load(here, profile), given))
        words = _allowed(name)
        rows = [
            {"name": p.name, "value": values[p.name], "type": p.type, "default": p.default,
             "allowed": words.get(p.name, ""), "meaning": p.meaning}
            for p in parameters.declared(one)
        ]  # fmt: skip
        _print_rows(rows, as_json=as_json)
    elif dry_run:
        _print_plan(_plan(name, profile, given), as_json=as_json)
    else:
        made = build.chapter(here, name, assignments=given, profile=profile, live=live, say=_say, allowed=_allowed)
        _open(made, browse=browse)


@app.command(epilog='Example: transfusion compare convergence "steps=30" "steps=60 seeds=[0,1]"')
def compare(
    name: ChapterName,
    sets: Annotated[
        list[str],
        typer.Argument(metavar="SET...", help='"KEY=VALUE KEY=VALUE", a column each; one is beside what is.'),
    ],
    assignments: Assignments = None,
    profile: ProfileOption = "quick",
    dry_run: DryRunOption = False,
    live: LiveOption = False,
    browse: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make one chapter under several sets of parameters, and a page that shows them side by side.

    What -p sets holds for all of them.
    """
    from transfusion_lib.book import build, profiles, project
    from transfusion_lib.book import compare as columns

    here = project.find()
    given = assignments or []
    if dry_run:
        one = here.chapter(name)
        wanted = columns.sets(one, build.resolve(one, profiles.load(here, profile), given), sets)
        plans = [_plan_of(_study_of(name, values)) for values in wanted]
        _print_plan(list({one.key: one for plan in plans for one in plan}.values()), as_json=as_json)
    else:
        made = build.comparison(here, name, sets, assignments=given, profile=profile, live=live, say=_say)
        _open(made, browse=browse)


@app.command(epilog="Example: transfusion todo convergence --profile paper")
def todo(
    study: StudyName,
    assignments: Assignments = None,
    profile: ProfileOption = "quick",
    commands: Annotated[
        bool, typer.Option("--commands", help="Print a command for each missing run, a line each, sources first.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a study's runs: which exist, which would be trained, and how long that takes.

    The lines of --commands are for a queue, a Slurm array for example: each makes its run unless the store has it,
    and a source of weights too, so they may run in any order, twice, or at once.
    """
    if commands:
        for one in _plan(study, profile, assignments or []):
            if one.state != "done":
                typer.echo(one.command)
    else:
        _print_plan(_plan(study, profile, assignments or []), as_json=as_json)


@app.command(epilog="Example: transfusion train convergence -p seeds=[0,1,2,3] --engine processes --workers 2")
def train(
    study: StudyName,
    assignments: Assignments = None,
    profile: ProfileOption = "quick",
    engine: Annotated[
        str, typer.Option(help="auto, here, processes or ray.", autocompletion=_engine_names, metavar="ENGINE")
    ] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="How many runs at once; what fits by default.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster; without it Ray is started here.")] = None,
    gpus_per_run: Annotated[float | None, typer.Option(help="Of Ray: 0.25 lets four runs share a GPU.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="More tries for a run whose worker died.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Train every run of a study that the store lacks, and say how far the whole is.

    Commands that share a store share the work. SIGTERM stops at the next step with checkpoints and exit status 75:
    the same command goes on from there.
    """
    from transfusion_lib import runs
    from transfusion_lib.runs import engines
    from transfusion_lib.training import device, interrupts, team

    chosen = engines.named(engine, workers=workers, address=address, gpus_per_run=gpus_per_run, retries=retries)
    asked = _study(study, profile, assignments or [])
    with interrupts.on_signals(), team.joined() as here:
        made = asked.ensure(
            lambda specs: runs.ensure(
                specs, engine=chosen, say=_note, watch=_Standings(), resources=device.resources(team=here)
            )
        )
    if as_json and here.leads:
        _print_json([{"key": one.key, "run": runs.label(one.spec)} for one in made])


@app.command(epilog="Example: transfusion study --cell C --engine processes")
def study(
    cell: Annotated[
        list[str] | None, typer.Option("--cell", metavar="CELL", help="A cell of the plan, a part of one, or sources.")
    ] = None,
    rates: Annotated[
        bool, typer.Option("--rates", help="Train the pilot's runs and write the rates that their validation chooses.")
    ] = False,
    network: Annotated[list[str] | None, typer.Option(help="Of --rates: only these networks.")] = None,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Print what the runs that are made say of each claim.")
    ] = False,
    engine: Annotated[
        str | None, typer.Option(help="Train what is missing: here, in processes or on ray.", metavar="ENGINE")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many runs at once; what fits by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the cells of the study: runs made and missing, hours left; with --engine train what is missing.

    It goes on where it was stopped.
    """
    from transfusion_lib import runs
    from transfusion_lib.chapters.kit import planned
    from transfusion_lib.errors import SpecError
    from transfusion_lib.runs import engines
    from transfusion_lib.runs.store import open_store
    from transfusion_lib.training import interrupts

    store, known = open_store(), planned.plan()
    if verdicts:
        judged = planned.verdicts(known, store=store)
        rows = [{"claim": name, "verdict": one.outcome, "sentence": one.sentence} for name, one in judged.items()]
        _print_rows(rows, as_json=as_json)
        return
    if engine is None and not rates:
        standing = [
            one for one in planned.standing(known, store=store) if not cell or one.cell.partition(".")[0] in cell
        ]
        _print_rows([asdict(one) for one in standing], as_json=as_json)
        return
    train = functools.partial(
        runs.ensure, engine=engines.named(engine or "auto", workers=workers), say=_note, watch=_Standings()
    )
    with interrupts.on_signals():
        if rates:
            typer.echo(planned.choose_rates(known, train, networks=network or ()))
            return
        for name in cell or ["sources", *(one.id for one in known.cells)]:
            if name == "sources" or name in known.sources:
                train([known.sources[name]] if name in known.sources else list(known.sources.values()))
                continue
            for part in known.cell(name):
                if open_ends := known.untuned(part):
                    raise SpecError(
                        f"cell {part.id}: no rate is chosen yet for {', '.join(open_ends)}; choose with: "
                        "transfusion study --rates"
                    )
                train(planned.missing(known.specs(part), store=store))


class _Standings:
    """Says on standard error, every few seconds, how far all runs are."""

    def __init__(self) -> None:
        self.said = time.monotonic()

    def __call__(self, standing: "Standing") -> None:
        if time.monotonic() - self.said > 5:
            self.said = time.monotonic()
            _note(f"    {standing}")


def _plan(study: str, profile: str, assignments: list[str]) -> "list[Todo]":
    """Return how the runs of a study stand, with the parameters of a profile and those given."""
    return _plan_of(_study(study, profile, assignments))


def _plan_of(asked: "Study") -> "list[Todo]":
    """Return how the runs of a study stand, as far as they are known without results that are still missing."""
    from transfusion_lib import runs

    plan = runs.todo(asked.specs())
    while all(one.state == "done" for one in plan):
        more = asked.then([runs.load(one.spec) for one in plan])
        if not more:
            break
        plan += runs.todo(more)
    return plan


def _study(study: str, profile: str, assignments: list[str]) -> "Study":
    """Return a study with the parameters of a profile and those given."""
    from transfusion_lib.book import build, profiles, project

    here = project.find()
    chapter = here.chapter(study)
    return _study_of(study, build.resolve(chapter, profiles.load(here, profile), assignments))


def _study_of(name: str, given: dict[str, Any]) -> "Study":
    """Return a study with the values ``given`` in place of its chapter's defaults."""
    from transfusion_lib.book import parameters, project

    values = parameters.effective(project.find().chapter(name), given)
    from transfusion_lib import chapters  # seconds, so only when the command makes sense

    if name not in chapters.TABLE:
        raise UserError(f"chapter {name} trains nothing. {unknown('study', name, chapters.TABLE)}")
    return chapters.TABLE[name](**values)


def _allowed(chapter: str) -> dict[str, str]:
    """Return for each parameter of a chapter what it may be, in words."""
    from transfusion_lib import chapters
    from transfusion_lib.chapters.kit.allowed import allowed

    return allowed(chapters.TABLE[chapter]) if chapter in chapters.TABLE else {}


def _print_plan(plan: "list[Todo]", *, as_json: bool) -> None:
    from transfusion_lib import runs

    if as_json:
        _print_json([{**asdict(one), "spec": one.spec.model_dump(mode="json"), "command": one.command} for one in plan])
        return
    _print_table([
        {"run": one.key[:12], "state": one.state, "estimate": _duration(one.estimate_s), "what": runs.label(one.spec)}
        for one in plan
    ])  # fmt: skip
    missing = [one.estimate_s for one in plan if one.state == "missing"]
    known = [seconds for seconds in missing if seconds is not None]
    cost = f"about {_duration(sum(known))}" if len(known) == len(missing) else "no estimate before a first such run"
    count = f"{len(plan)} runs, {len(missing)} to train"
    typer.echo(f"{count}: {cost} on this machine" if missing else count)
    for line in _about_weights(plan):
        typer.echo(line)


def _about_weights(plan: "list[Todo]") -> Iterator[str]:
    """Yield what a plan needs for its pretrained starts and does not have yet, and what else would do."""
    from transfusion_lib import runs
    from transfusion_lib.networks import Download, architecture, weights

    missing = [one.spec for one in plan if one.state == "missing"]
    sources = {spec.init.weights for spec in missing}
    for spec in dict.fromkeys(spec for spec in missing if spec in sources):
        published = architecture(spec.model.name).imagenet
        yield f"first: {runs.label(spec)}, since others start from its weights"
        if isinstance(published, Download):
            yield f"    or from ImageNet's, with {published.file} in the folder TRANSFUSION_WEIGHTS"
    for network in dict.fromkeys(spec.model.name for spec in missing if spec.init.weights == "imagenet"):
        published = architecture(network).imagenet
        if isinstance(published, Download) and not weights.at_hand("imagenet", network=network):
            yield f"{network}: ImageNet weights are not on this machine and would be downloaded from {published.url}"
            yield "    or put that file into the folder TRANSFUSION_WEIGHTS; or add -p pretrained=without_download"


@app.command(epilog="Example: transfusion run spec.json")
def run(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A JSON file, or the JSON itself.")],
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write its weights there, as those that ship are written.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train one run unless the store has it, and print its final scores.

    SIGTERM stops it at the next step with a checkpoint and exit status 75: the same command goes on from there. On
    several GPUs at once: torchrun --nproc-per-node 2 -m transfusion_lib run SPEC
    """
    from transfusion_lib.spec import RunSpec, read_spec

    described = RunSpec.from_json(spec) if spec.lstrip().startswith("{") else read_spec(Path(spec).expanduser())
    from transfusion_lib import runs
    from transfusion_lib.training import device, interrupts, team

    with interrupts.on_signals(), team.joined() as here:
        [made] = runs.ensure([described], say=_note, report=_Steps(), resources=device.resources(team=here))
    if not here.leads:
        return
    if weights is not None:
        from transfusion_lib.networks.weights import pack

        pack(made.weights(), weights)
    if as_json:
        _print_json(made.record)
        return
    finals = {name: value for name, value in made.final.items() if not isinstance(value, list)}
    _print_table([{"run": made.key[:12], **finals}])


class _Steps:
    """Says on standard error, every few seconds, how far a run is."""

    def __init__(self) -> None:
        self.said = time.monotonic()

    def __call__(self, spec: "RunSpec", progress: "Progress") -> None:
        if time.monotonic() - self.said > 5:
            self.said = time.monotonic()
            from transfusion_lib.training.metrics import headline

            name, score = headline(progress.curve)
            _note(f"    step {progress.step} of {spec.train.steps}, {name} {score:.3f}")


@app.command(epilog="Example: transfusion cut --data ~/images --quick")
def cut(
    place: Annotated[
        str, typer.Option("--data", metavar="PLACE", help="A folder with one folder per class, or a set.")
    ],
    model: Annotated[str, typer.Option(help="The network to cut (transfusion models).")] = "efficientnet_lite0",
    quick: Annotated[bool, typer.Option("--quick", help="64 pixels, 40 steps, 2 seeds: minutes on two cores.")] = False,
    size: Annotated[int | None, typer.Option(help="Edge of the images in pixels.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each candidate.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps of each training.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's.")] = None,
    task: Annotated[str | None, typer.Option(help="One of the data set's tasks.")] = None,
    start: Annotated[str, typer.Option(help="pretrained or random.")] = "pretrained",
    rule: Annotated[str, typer.Option(help="best on validation, or one-se: the cheapest not told apart.")] = "best",
    out: Annotated[Path, typer.Option(help="Folder for the network, its card and the search.")] = Path("cut"),
    export: Annotated[bool, typer.Option(help="Write the chosen network as ONNX and torch.export.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Find how much of a network your images need, and export what is left.

    Stopped and started again, it continues where it was: finished trainings are in the store.
    """
    from transfusion_lib.cutting.export import need_packages

    if export:
        need_packages()  # before minutes of training, not after
    from transfusion_lib.cutting import card
    from transfusion_lib.cutting import cut as tool
    from transfusion_lib.runs import engines
    from transfusion_lib.training import interrupts

    checked = tool.checked_rule(rule)
    search = tool.plan(
        place,
        model=model,
        size=size,
        seeds=seeds,
        task=task,
        start=tool.checked_start(start),
        quick=quick,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )
    _note(f"{model} on {place}: {len(search.block_specs())} trainings, then those around the best block")
    with interrupts.on_signals():
        advice = tool.advise(search, rule=checked, say=_note, engine=engines.automatic)
    done = card.write(advice, out) if export else None
    if as_json:
        _print_json(tool.as_json(advice))
        return
    _print_table(card.table(advice))
    for line in (*card.recommendation(advice), *(f"note: {line}" for line in advice.limits)):
        _say(line)
    if done is not None:
        worst = max(done.differences.values())
        typer.echo(f"written: {done.onnx}, {done.torch} (within {worst:.0e} of the network), {out / 'MODEL_CARD.md'}")


@app.command(epilog="Example: transfusion status --json")
def status(as_json: JsonOption = False) -> None:
    """Print what the store holds and what the last book was made of."""
    from transfusion_lib import runs
    from transfusion_lib.book import made, project
    from transfusion_lib.runs.store import open_store

    store = open_store()
    folder = project.find().build / "book"
    book = made.load(folder, "build.json")
    found = {"store": str(store.root), "runs": len(store.keys(runs.KIND)), "running": store.working(), "book": book}
    if as_json:
        _print_json(found)
        return
    typer.echo(f"store {store.root}: {found['runs']} finished runs, {len(store.working())} running")
    if book is None:
        typer.echo("no book yet; make one with: transfusion book")
        return
    typer.echo(f"book {book['build']}, profile {book['profile']}")
    if changed := made.changed(folder) if (folder / made.SUMS).is_file() else []:
        _say(f"{len(changed)} files of it are not what was made, such as {changed[0]}; make it again: transfusion book")
    _print_table([
        {"chapter": row["chapter"], "outcome": row["outcome"], "seconds": row["seconds"], "started": row["started"]}
        for row in book["chapters"]
    ])  # fmt: skip


@app.command(epilog="Example: transfusion publish")
def publish(
    profile: Annotated[str, typer.Option("--profile", help="Whose runs.", autocompletion=_profile_names)] = "published",
    into: Annotated[Path | None, typer.Option(metavar="FOLDER", help="By default results/ of the checkout.")] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Then remove recorded runs that no page of this book reads.")
    ] = False,
    study: Annotated[bool, typer.Option("--study", help="Those of the study that are made, not a profile's.")] = False,
) -> None:
    """Copy a profile's finished runs and their analyses, without weights, into the records that git holds.

    Those of the profiles whose chapters its book has too come along.
    """
    from transfusion_lib import paths
    from transfusion_lib.chapters.kit import planned
    from transfusion_lib.runs import records
    from transfusion_lib.runs.store import open_store

    source, folder = open_store(), into or paths.records_root()
    recorded = records.Records(folder)
    planned_runs = planned.made(planned.plan(), store=source) if study or prune else {}
    read = planned_runs if study else _read_by(profile, recorded, source)
    new = recorded.publish(read, source=source)
    several = len({spec for specs in read.values() for spec in specs})
    what = "cells of the study" if study else f"studies of {profile}"
    typer.echo(f"{folder}: {new[0]} new runs, {new[1]} new analyses; {several} runs in {len(read)} {what}")
    if prune:
        gone = recorded.prune(read | planned_runs)
        typer.echo(f"removed: {gone[0]} runs that no page reads, {gone[1]} analyses of them")


def _read_by(profile: str, recorded: "Records", source: "Store") -> "dict[str, list[RunSpec]]":
    """Return the runs that each chapter of a profile reads, those of its guests too."""
    from transfusion_lib import chapters
    from transfusion_lib.book import build, parameters, profiles, project

    here = project.find()
    chosen = profiles.load(here, profile)
    wanted = [*((chapter, build.resolve(chapter, chosen)) for chapter in chosen.pages(here)), *chosen.guests(here)]
    return {
        f"{chapter.name}/{chapter.guest.profile if chapter.guest else profile}": [
            made.spec
            for made in chapters.TABLE[chapter.name](**parameters.effective(chapter, values)).ensure(
                lambda asked: recorded.at_hand(asked, source=source)
            )
        ]
        for chapter, values in wanted
        if chapter.name in chapters.TABLE
    }


@app.command(epilog="Example: transfusion verify --records 8c76c269ff56")
def verify(
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="Train these again instead of a sample: the first digits will do."),
    ] = None,
    records: Annotated[bool, typer.Option("--records", help="Check the published records instead.")] = False,
    sample: Annotated[
        int | None, typer.Option(min=0, help="How many runs to train again and compare; 1, of records 0.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the sample; a new one each time without it.")] = None,
    within: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Draw only among runs that took no longer.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the result with the records, for the page.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Hash every file of every finished run again, and train a random sample of the runs, or those named, to compare.

    What is damaged is set aside and made again when asked for; of the records it is named, and the count goes on.

    A run that is trained again must give the same bits on the same processor, threads and PyTorch. Elsewhere a score
    before the first step may differ by 0.005 and the loss of each of the first 5 steps by 1 % (in bfloat16 15 %); the
    last score must lie in the 95 % prediction interval of the run's other seeds. Fewer than 3 cannot judge it, and 0.05
    is allowed. A run that starts from another is checked against that one too.
    """
    if keep and not (records and sample):
        raise UserError("--keep needs --records and --sample K: it keeps what training records again found")
    if keys and (sample is not None or within is not None):
        raise UserError("a KEY names what to train again, --sample and --within draw among all: give one or the other")
    from transfusion_lib import runs
    from transfusion_lib.analysis import audit
    from transfusion_lib.runs import analyses
    from transfusion_lib.runs.records import open_records
    from transfusion_lib.runs.store import open_store

    mine = open_store()
    store = open_records().store if records else mine
    checked = len(store.keys(runs.KIND))
    # Records are in git, which holds every version: a damaged one is named, and nothing is moved.
    found = open_records().verify() if records else [*store.verify(runs.KIND), *store.verify(analyses.KIND)]
    problems = [asdict(problem) for problem in found]
    drawn = time.time_ns() % 2**31 if seed is None else seed
    count = (0 if records else 1) if sample is None else sample
    chosen = audit.named(store, keys) if keys else audit.sample(store, count, seed=drawn, within=within)
    compared = _trained_again(chosen, store, mine, strict=bool(keys) or sample is not None)
    if keep:
        audit.write_audit(store.root, compared, of=checked, seed=drawn)
    if as_json:
        again = [{**asdict(one), "agrees": one.agrees} for one in compared]
        _print_json({"checked": checked, "problems": problems, "sample": again, "seed": drawn})
    else:
        _print_table(problems)
        _print_table([_compared_row(one) for one in compared])
        typer.echo(f"{checked} runs checked, {len(problems)} damaged")
        if compared:
            differ = sum(not one.agrees for one in compared)
            how = "as asked" if keys else f"seed {drawn}"
            typer.echo(f"{len(compared)} trained again ({how}), {differ} differ")
    if problems or not all(one.agrees for one in compared):
        raise typer.Exit(1)


def _compared_row(one: "Compared") -> dict[str, Any]:
    return {
        "run": one.key[:12],
        "agrees": one.agrees,
        "start differs by": one.start,
        "curve by": one.curve,
        "allowed": one.tolerance,
        "first losses by": one.loss,
        "last score by": one.final,
        "there allowed": one.final_tolerance,
        "judged by": one.judged,
        "what": one.what,
    }


def _trained_again(chosen: "list[Run]", among: "Store", mine: "Store", *, strict: bool) -> "list[Compared]":
    """Return how runs compare that are trained again; unless ``strict``, those without images here are left out."""
    from transfusion_lib import runs
    from transfusion_lib.analysis import audit
    from transfusion_lib.spec import RunSpec

    compared = []
    for run in chosen:
        _note(f"training again, {_duration(run.record['seconds'])} at first: {runs.label(run.spec)}")
        try:
            if isinstance(run.spec.init.weights, RunSpec):
                runs.ensure([run.spec.init.weights], store=mine, say=_note)  # a record has no weights to start from
            compared.append(audit.again(run, among=among, weights=mine))
        except DataError as error:
            if strict:
                raise
            _note(f"not trained again: {error}")  # the hashes still count
        except DamagedError as error:
            _note(f"not trained again: {error}")  # one of the problems that the hashes found
    return compared


@app.command(epilog="Example: transfusion bench train --network cbr_tiny")
def bench(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="train, gpu, data, similarity, store, book or newcomer.")],
    network: Annotated[str | None, typer.Option(help="Of bench train and gpu: only this one.")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Of bench train and gpu: how often both are measured in turn.")] = 7,
    threads: Annotated[int | None, typer.Option(min=1, help="Of bench train: of both loops; all cores.")] = None,
    small: Annotated[bool, typer.Option("--small", help="Of bench similarity: a tenth of the samples.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to keep the result; build/bench/WHAT.json.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure beside a peer and beside the machine's limit, and keep the result for the book's page of speed."""
    from transfusion_lib.book import project

    if what not in BENCHMARKS:
        raise UserError(unknown("benchmark", what, BENCHMARKS))
    root = project.find().root
    if not (root / "benchmarks" / "report.py").is_file():
        raise UserError(f"{root} has no folder benchmarks: they are measured from a checkout, not from an installation")
    sys.path.insert(0, str(root))
    from importlib import import_module

    say = _note if as_json else typer.echo
    ours: dict[str, dict[str, Any]] = {
        "train": {"network": network, "pairs": pairs, "threads": threads},
        "gpu": {"network": network, "pairs": pairs},
        "similarity": {"small": small},
    }
    path = out or root / "build" / "bench" / f"{what}.json"
    report = import_module("benchmarks.report").Report(what, say, path)
    import_module(f"benchmarks.{what}").measure(report, **ours.get(what, {}))
    if as_json:
        _print_json(report.result())
    _note(f"kept in {path}")


@app.command(epilog="Example: transfusion pdf")
def pdf() -> None:
    """Print the book that was made last as one PDF, and print its path."""
    from transfusion_lib.book import pdf as printer
    from transfusion_lib.book import project

    typer.echo(project.shown(printer.write(project.find(), say=_note)))


@app.command(epilog="Example: transfusion address https://github.com/owner/name")
def address(
    url: Annotated[str | None, typer.Argument(metavar="URL", help="Of the public repository.")] = None,
    branch: Annotated[str, typer.Option(help="The branch that readers get.")] = "main",
) -> None:
    """Print the public repository's address, or set it: the book's launch buttons and Colab's first cell follow it."""
    from transfusion_lib.book import address as setting
    from transfusion_lib.book import project

    here = project.find()
    if url is None:
        found = setting.read(here)
        typer.echo(
            f"{found.url}, branch {found.branch}" if found else "no address yet; set one: transfusion address URL"
        )
        return
    for path in setting.write(here, setting.parse(url, branch)):
        typer.echo(f"changed: {path.relative_to(here.root)}")


@app.command(epilog="Example: transfusion claims T11")
def claims(
    name: Annotated[str | None, typer.Argument(help="One claim, with its rule and what its verdict rests on.")] = None,
    profile: ProfileOption = "quick",
    as_json: JsonOption = False,
) -> None:
    """Print the papers' claims with the verdicts of the last book made under a profile."""
    from transfusion_lib.book import made, profiles, project
    from transfusion_lib.papers import pilot as declared

    here = project.find()
    also = profiles.load(here, profile).also
    if name is not None and name not in declared.TABLE:
        raise UserError(unknown("claim", name, declared.TABLE))
    made.check(here.build / "book", "verdicts.json")
    board = declared.scoreboard(here.build / "book" / "verdicts.json", profile=profile, also=also)
    rows: list[dict[str, Any]] = [
        {"claim": verdict.claim, "verdict": verdict.outcome, "statement": declared.TABLE[verdict.claim].statement,
         "source": declared.TABLE[verdict.claim].source, "chapter": declared.TABLE[verdict.claim].chapter,
         "estimand": declared.TABLE[verdict.claim].estimand, "rule": declared.TABLE[verdict.claim].rule,
         "reason": verdict.reason, "findings": [asdict(finding) for finding in verdict.findings],
         "runs": list(verdict.runs)}
        for verdict in board
        if name in (None, verdict.claim)
    ]  # fmt: skip
    if as_json:
        _print_json(rows)
    elif name is not None:
        _print_pairs({word: value for word, value in rows[0].items() if word not in ("findings", "runs")})
        _print_table(rows[0]["findings"])
    else:
        _print_table([{word: row[word] for word in ("claim", "verdict", "statement")} for row in rows])


data_app = typer.Typer(help="List data sets, show one's datasheet, check files of your own.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("list", epilog="Example: transfusion data list")
def data_list(as_json: JsonOption = False) -> None:
    """Print every data set and where its files were found."""
    from transfusion_lib import data

    rows = [asdict(line) for line in data.listing()]
    if as_json:
        _print_json(rows)
        return
    _print_table([{"name": row["name"], "where": row["where"] or "not found", "what": row["what"]} for row in rows])
    typer.echo("Point TRANSFUSION_DATA at your downloads. How to get a set: transfusion data show NAME")


@data_app.command("show", epilog="Example: transfusion data show chest_xray")
def data_show(
    name: Annotated[str, typer.Argument(help="A data set by name, or your own folder, zip or csv.")],
    skip: Annotated[bool, typer.Option(help="List faulty rows and names as left out instead of stopping.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a data set's datasheet: source, licence, splits, classes, units."""
    from transfusion_lib import data

    sheet = data.show(name, on_bad="skip" if skip else "error")
    if as_json:
        _print_json(asdict(sheet))
        return
    _print_pairs({"name": sheet.name, **sheet.lines})
    _print_splits(sheet)
    lines = [f"left out: {line}" for line in sheet.left_out]
    for line in (*lines, *(f"note: {line}" for line in (*sheet.remarks, *sheet.leaks))):
        _say(line)


@data_app.command("check", epilog="Example: transfusion data check ~/images.zip")
def data_check(
    path: Annotated[str, typer.Argument(help="Your folder, zip, csv or MedMNIST file; :TASK may follow.")],
    as_json: JsonOption = False,
) -> None:
    """Decode every image of your files and print every fault with its repair; exit status 2 where there is one."""
    from transfusion_lib import data

    found = data.check(path)
    if as_json:
        _print_json({**asdict(found), "ok": found.ok})
    else:
        layout, problems = found.name or "unknown", len(found.problems)
        _say(f"{path}: {found.images} images, layout {layout}, {problems} problems")
        if found.sheet is not None:
            _print_splits(found.sheet)
        for line in (*found.problems, *(f"note: {note}" for note in found.notes)):
            _say(line)
    if not found.ok:
        raise typer.Exit(UserError.exit_status)


def _print_splits(sheet: "Datasheet") -> None:
    """Print a column for each split: images, units, and images of each class."""
    counts = {name: [column[k] for column in sheet.counts.values()] for k, name in enumerate(sheet.classes)}
    totals = {"images": list(sheet.images.values()), "units": list(sheet.units.values())}
    rows = [*totals.items(), *((f"  {name}", row) for name, row in counts.items())]
    _print_table([{"": what, **dict(zip(sheet.images, row, strict=True))} for what, row in rows])


@app.command(epilog="Example: transfusion models resnet50")
def models(
    name: Annotated[str | None, typer.Argument(help="One network, with its cut points.")] = None,
    size: Annotated[int, typer.Option(help="Edge of the images in pixels, for the multiply-adds.")] = 224,
    as_json: JsonOption = False,
) -> None:
    """Print the networks: parameters, multiply-adds, stages, pretrained weights."""
    from transfusion_lib import networks
    from transfusion_lib.spec import ModelSpec

    names = [name] if name else list(networks.TABLE)
    found = [asdict(networks.describe(ModelSpec(name=one), size=size)) for one in names]
    if as_json:
        _print_json(found)
    elif name:
        _print_pairs(
            {word: ", ".join(value) if isinstance(value, tuple) else value for word, value in found[0].items()}
        )
    else:
        _print_table([
            {"name": row["name"], "parameters": row["parameters"], f"MACs at {size} px": row["macs"],
             "weights": row["weights"], "stages": " ".join(row["stages"])}
            for row in found
        ])  # fmt: skip


def _open(page: Path, *, browse: bool) -> None:
    address = page.resolve().as_uri()
    typer.echo(f"open {address}")
    if browse:
        import webbrowser

        webbrowser.open(address)


def _note(line: str) -> None:
    """Print a line for a person: not on standard output, which a program may read."""
    typer.echo(printable(line), err=True)


def _say(line: str) -> None:
    """Print a line that may hold names of files and classes."""
    typer.echo(printable(line))


def _print_json(value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False, default=str)
    typer.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        _print_json(rows)
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows with equal keys as aligned columns under their names."""
    if not rows:
        return
    table = [list(rows[0]), *([printable(_text(value)) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _print_pairs(pairs: dict[str, Any]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, pairs))
    for name, value in pairs.items():
        typer.echo(f"{name.ljust(width)}  {printable(_text(value))}")


def _text(value: Any) -> str:
    """Return a value as a person reads it in a table."""
    match value:
        case str():
            return value
        case None:
            return "-"
        case bool():
            return json.dumps(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return json.dumps(value, default=str)


def _duration(seconds: float | None) -> str:
    """Return seconds as a person says them."""
    from transfusion_lib.runs.grid import duration

    return "-" if seconds is None else duration(seconds)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"transfusion {__version__}")
        from transfusion_lib.paths import store_root
        from transfusion_lib.training import (  # PyTorch takes seconds: the version stands there meanwhile
            device,
            provenance,
        )

        made = provenance.record(device.resources().device)
        _print_pairs({
            "commit": f"{made['commit']}{' with changes' if made['dirty'] else ''}",
            "python": made["python"],
            **made["versions"],
            **made["machine"],
            "store": str(store_root()),
        })  # fmt: skip
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="What a bug report needs.")
    ] = False,
) -> None:
    pass


def _stopped(_number: int, _frame: object) -> None:
    """End on a SIGTERM that comes before anything is trained, or after it."""
    _note("stopped on request; nothing was being trained, and the same command begins again")
    sys.exit(InterruptedRunError.exit_status)


def main() -> None:
    """Run the command line; an error of ours becomes one message and its exit status, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a sign shows its number
    signal.signal(signal.SIGTERM, _stopped)
    try:
        app()
    except TransfusionError as error:
        if not isinstance(error, ToldError):
            typer.echo("error: " + "\n".join(map(printable, str(error).split("\n"))), err=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        typer.echo("interrupted; finished runs stay in the store", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
