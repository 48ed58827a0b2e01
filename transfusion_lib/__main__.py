"""The command line: ``transfusion``, or ``python -m transfusion_lib``.

Exit status 0 is success, 2 a mistake of the user's, 1 a failure, 75 a stop on request: the same command goes on from
there. Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
"""

import io
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from transfusion_lib import __version__
from transfusion_lib.book import commands, terminal
from transfusion_lib.book.completion import CHAPTERS, ENGINES, PARAMETERS, PROFILES
from transfusion_lib.book.terminal import Json, note, now_and_then, step
from transfusion_lib.errors import InterruptedRunError, ToldError, TransfusionError, UserError, printable

app = typer.Typer(
    help="Transfusion, reproduced: make the book, one chapter, one run; look at data, networks and runs.",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich would triple the time to the first line of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# Arguments and options of several commands

Chapter = Annotated[str, Argument(**CHAPTERS)]
Study = Annotated[str, Argument(metavar="STUDY", **CHAPTERS)]
Assignments = Annotated[list[str] | None, Option("-p", "--parameter", help="Set one parameter; repeat.", **PARAMETERS)]
Profile = Annotated[str, Option(help="published, live or paper.", **PROFILES)]
Live = Annotated[bool, Option("--live", help="Train what is missing, also where the profile only reads records.")]
Browse = Annotated[bool, Option("--open", help="Open the page in the browser too.")]
DryRun = Annotated[bool, Option("--dry-run", help="Print which runs exist, which would train.")]
Workers = Annotated[int | None, Option(min=1, help="How many runs at once; what fits by default.")]


@app.command(epilog="Example: transfusion book --profile live")
def book(
    profile: Profile = "published",
    only: Annotated[str | None, Option(metavar="CHAPTER", help="Leave all other chapters out.", **CHAPTERS)] = None,
    live: Live = False,
    browse: Browse = False,
) -> None:
    """Make the book and print the page to open."""
    from transfusion_lib.book.execute import need_extras

    need_extras()
    from transfusion_lib.book import build, project

    terminal.open_page(
        build.book(project.find(), profile=profile, only=only, live=live, say=terminal.say), browse=browse
    )


@app.command(epilog="Example: transfusion chapter convergence -p seeds=[0,1]")
def chapter(
    name: Chapter,
    assignments: Assignments = None,
    profile: Profile = "live",
    list_parameters: Annotated[bool, Option("--list-parameters", help="Print them and stop.")] = False,
    dry_run: DryRun = False,
    live: Live = False,
    browse: Browse = False,
    as_json: Json = False,
) -> None:
    """Make one chapter with parameters of your own and print its page."""
    from transfusion_lib.book.execute import need_extras

    need_extras()
    from transfusion_lib.book import build, project, studies

    given = assignments or []
    if list_parameters:
        terminal.print_rows(studies.listed(name, profile=profile, assignments=given), as_json=as_json)
    elif dry_run:
        terminal.print_plan(studies.named(name, profile=profile, assignments=given).todo(), as_json=as_json)
    else:
        made = build.chapter(project.find(), name, assignments=given, profile=profile, live=live, say=terminal.say)
        terminal.open_page(made, browse=browse)


@app.command(epilog='Example: transfusion compare convergence "steps=30" "steps=60 seeds=[0,1]"')
def compare(
    name: Chapter,
    sets: Annotated[list[str], Argument(metavar="SET...", help='"KEY=VALUE KEY=VALUE", a column each.')],
    assignments: Assignments = None,
    profile: Profile = "live",
    dry_run: DryRun = False,
    live: Live = False,
    browse: Browse = False,
    as_json: Json = False,
) -> None:
    """Make one chapter under several sets of parameters, and a page that shows them side by side.

    A single set is compared with the parameters as they are. What -p sets holds for all of them.
    """
    from transfusion_lib.book.execute import need_extras

    need_extras()
    from transfusion_lib.book import build, project, studies

    given = assignments or []
    if dry_run:
        terminal.print_plan(studies.of_sets(name, sets, profile=profile, assignments=given), as_json=as_json)
    else:
        here = project.find()
        made = build.comparison(here, name, sets, assignments=given, profile=profile, live=live, say=terminal.say)
        terminal.open_page(made, browse=browse)


@app.command(epilog="Example: transfusion claims T11")
def claims(
    name: Annotated[str | None, Argument(help="One claim, with its rule and what its verdict rests on.")] = None,
    made: Annotated[bool, Option("--made", help="Read also whole cells that the store has made.")] = False,
    as_json: Json = False,
) -> None:
    """Print the papers' claims with the study's verdicts, from the published records."""
    from transfusion_lib.chapters.kit import planned
    from transfusion_lib.runs.store import open_store

    rows = planned.claims(name, store=open_store() if made else None)
    if as_json:
        terminal.print_json(rows)
    elif name is not None:
        terminal.print_pairs({word: value for word, value in rows[0].items() if word != "findings"})
        terminal.print_table(rows[0]["findings"])
    else:
        terminal.print_table(terminal.columns(rows, "claim", "verdict", "words"))


@app.command("status", epilog="Example: transfusion status --json")
def overview(as_json: Json = False) -> None:
    """Print what the store holds and what the last book was made of."""
    from transfusion_lib.book import status

    found = status.overview()
    if as_json:
        terminal.print_json(found)
        return
    typer.echo(f"store {found['store']}: {found['runs']} finished runs, {len(found['running'])} running")
    if (made := found["book"]) is None:
        typer.echo("no book yet; make one with: transfusion book")
    else:
        typer.echo(f"book {made['build']}, profile {made['profile']}")
        if changed := found["changed"]:
            told = f"{len(changed)} files of it are not what was made, such as {changed[0]}"
            terminal.say(f"{told}; make it again: transfusion book")
        terminal.print_table(terminal.columns(made["chapters"], "chapter", "outcome", "seconds", "started"))


@app.command("pdf", epilog="Example: transfusion pdf")
def print_pdf() -> None:
    """Print the book that was made last as one PDF, and print its path."""
    from transfusion_lib.book import pdf, project

    typer.echo(project.shown(pdf.write(project.find(), say=note)))


@app.command("address", epilog="Example: transfusion address https://github.com/owner/name")
def repository(
    url: Annotated[str | None, Argument(metavar="URL", help="Of the public repository.")] = None,
    branch: Annotated[str, Option(help="The branch that readers get.")] = "main",
) -> None:
    """Print the public repository's address, or set it: the book's launch buttons and Colab's first cell follow it."""
    from transfusion_lib.book import address, project

    if url is not None:
        changed = address.write(project.find(), address.parse(url, branch))
        terminal.print_lines(map(project.shown, changed), before="changed: ")
    elif found := address.read(project.find()):
        typer.echo(f"{found.url}, branch {found.branch}")
    else:
        typer.echo("no address yet; set one: transfusion address URL")


@app.command(epilog="Example: transfusion todo convergence --profile paper")
def todo(
    name: Study,
    assignments: Assignments = None,
    profile: Profile = "live",
    commands: Annotated[bool, Option("--commands", help="Print a command for each missing run.")] = False,
    as_json: Json = False,
) -> None:
    """Print a study's runs: which exist, which would be trained, and how long that takes.

    The lines of --commands, sources first, are for a queue, a Slurm array for example: each makes its run unless the
    store has it, and a source of weights too, so they may run in any order, twice, or at once.
    """
    from transfusion_lib.book import studies

    plan = studies.named(name, profile=profile, assignments=assignments or []).todo()
    if commands:
        typer.echo("".join(f"{one.command}\n" for one in plan if one.state != "done"), nl=False)
    else:
        terminal.print_plan(plan, as_json=as_json)


@app.command(epilog="Example: transfusion train convergence -p seeds=[0,1,2,3] --engine processes --workers 2")
def train(
    name: Study,
    assignments: Assignments = None,
    profile: Profile = "live",
    engine: Annotated[str, Option(help="auto, here, processes or ray.", **ENGINES)] = "auto",
    workers: Workers = None,
    address: Annotated[str | None, Option(help="Of a Ray cluster; without it Ray is started here.")] = None,
    gpus_per_run: Annotated[float | None, Option(help="Of Ray: 0.25 lets four runs share a GPU.")] = None,
    as_json: Json = False,
) -> None:
    """Train every run of a study that the store lacks, and say how far the whole is.

    Commands that share a store share the work. SIGTERM stops at the next step with checkpoints and exit status 75:
    the same command goes on from there.
    """
    from transfusion_lib import runs
    from transfusion_lib.book import studies
    from transfusion_lib.runs import engines

    chosen = engines.named(engine, workers=workers, address=address, gpus_per_run=gpus_per_run)
    asked = studies.named(name, profile=profile, assignments=assignments or [])
    with engines.at_work(chosen, say=note, watch=now_and_then(str)) as (ensure, leads):
        made = asked.ensure(ensure)
    if as_json and leads:
        terminal.print_json([{"key": one.key, "run": runs.label(one.spec)} for one in made])


@app.command(epilog="Example: transfusion study --cell C --engine processes")
def study(
    cell: Annotated[list[str] | None, Option(metavar="CELL", help="A cell, a part of one, or sources.")] = None,
    rates: Annotated[bool, Option("--rates", help="Train the pilot's runs, write the rates that they choose.")] = False,
    network: Annotated[list[str] | None, Option(help="Of --rates: only these networks.")] = None,
    engine: Annotated[str | None, Option(help="Train what is missing: here, processes, ray.", **ENGINES)] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Print the cells of the study: runs made and missing, hours left; with --engine train the missing ones.

    It goes on where it was stopped.
    """
    from transfusion_lib.chapters.kit import planned
    from transfusion_lib.runs import engines
    from transfusion_lib.runs.store import open_store

    store, known = open_store(), planned.plan()
    if not rates and engine is None:
        standing = planned.standing(known, cell or (), store=store)
        terminal.print_rows([asdict(one) for one in standing], as_json=as_json)
    else:
        chosen = engines.named(engine or "auto", workers=workers)
        with engines.at_work(chosen, say=note, watch=now_and_then(str)) as (ensure, _):
            if rates:
                typer.echo(planned.choose_rates(known, ensure, networks=network or ()))
            else:
                planned.train(known, cell or (), ensure, store=store)


@app.command(epilog="Example: transfusion run spec.json")
def run(
    spec: Annotated[str, Argument(metavar="SPEC", help="A JSON file, or the JSON itself.")],
    weights: Annotated[Path | None, Option(metavar="FILE", help="Also write its weights, as those that ship.")] = None,
    processes: Annotated[int, Option(min=1, help="Share each batch among as many, a GPU each.")] = 1,
    as_json: Json = False,
) -> None:
    """Train one run unless the store has it, and print its final scores.

    SIGTERM stops it at the next step with a checkpoint and exit status 75: the same command goes on from there.
    """
    from transfusion_lib.spec import read_spec

    described = read_spec(spec)
    if processes > 1:
        from transfusion_lib.training import launch

        options = [*(["--weights", str(weights)] if weights else []), *(["--json"] if as_json else [])]
        raise SystemExit(launch.together(processes, ["run", described.to_json(), *options]))
    from transfusion_lib.networks.weights import pack
    from transfusion_lib.runs import engines

    with engines.at_work(engines.in_process, say=note, report=now_and_then(step)) as (ensure, leads):
        [made] = ensure([described])
    if leads and weights is not None:
        pack(made.weights(), weights)
    if leads and as_json:
        terminal.print_json(made.record)
    elif leads:
        finals = {name: value for name, value in made.final.items() if not isinstance(value, list)}
        terminal.print_table([{"run": made.key[:12], **finals}])


@app.command(epilog="Example: transfusion publish")
def publish(
    profile: Annotated[str, Option(help="Whose runs.", **PROFILES)] = "published",
    prune: Annotated[bool, Option("--prune", help="Then remove records that no page of this book reads.")] = False,
    study: Annotated[bool, Option("--study", help="Those of the study that are made, not a profile's.")] = False,
) -> None:
    """Copy a profile's finished runs and their analyses, without weights, into the records that git holds.

    Those of the profiles whose chapters its book has too come along.
    """
    from transfusion_lib.book import studies

    terminal.print_lines(studies.publish(None if study else profile, prune=prune))


@app.command(epilog="Example: transfusion verify --records 8c76c269ff56")
def verify(
    key: Annotated[list[str] | None, Argument(metavar="[KEY]...", help="Train these: first digits will do.")] = None,
    records: Annotated[bool, Option("--records", help="Check the published records instead.")] = False,
    sample: Annotated[int | None, Option(min=0, help="How many to train again; 1, of records 0.")] = None,
    seed: Annotated[int | None, Option(min=0, help="Of the sample; a new one each time without it.")] = None,
    within: Annotated[float | None, Option(min=0, metavar="SECONDS", help="Only runs that took no longer.")] = None,
    keep: Annotated[bool, Option("--keep", help="Keep the result with the records, for the page.")] = False,
    as_json: Json = False,
) -> None:
    """Hash every file of every finished run again, and train a random sample of the runs, or those named, to compare.

    What is damaged is set aside and made again when asked for; of the records it is named, and the count goes on.

    A run that is trained again must give the same bits on the same processor, threads and PyTorch. Elsewhere its start
    and first losses may differ by rounding, and its last score must lie in the 95 % prediction interval of the run's
    other seeds: the page "Status of this build" has the limits.
    """
    from transfusion_lib.analysis import audit

    found = audit.check(key or (), records=records, sample=sample, seed=seed, within=within, keep=keep, say=note)
    if as_json:
        terminal.print_json(found.as_json())
    else:
        terminal.print_table([asdict(problem) for problem in found.problems])
        terminal.print_table([one.row for one in found.compared])
        terminal.print_lines(found.lines())
    if not found.sound:
        raise typer.Exit(1)


@app.command(epilog="Example: transfusion bench train --network cbr_tiny")
def bench(
    what: Annotated[str, Argument(metavar="WHAT", help="train, gpu, data, similarity, store, book or newcomer.")],
    network: Annotated[str | None, Option(help="Of bench train and gpu: only this one.")] = None,
    pairs: Annotated[int, Option(min=1, help="Of bench train and gpu: how often both are measured in turn.")] = 7,
    out: Annotated[Path | None, Option(help="Where to keep the result; build/bench/WHAT.json.")] = None,
    as_json: Json = False,
) -> None:
    """Measure beside a peer and beside the machine's limit, and keep the result for the book's page of speed."""
    from transfusion_lib.book import speed

    options = {"network": network, "pairs": pairs} if what in ("train", "gpu") else {}
    result, path = speed.measure(what, out, say=note if as_json else terminal.say, **options)
    if as_json:
        terminal.print_json(result)
    note(f"kept in {path}")


data_app = typer.Typer(help="List data sets, show one's datasheet, check files of your own.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("list", epilog="Example: transfusion data list")
def data_list(as_json: Json = False) -> None:
    """Print every data set and where its files were found."""
    from transfusion_lib import data

    found = data.listing()
    if as_json:
        terminal.print_json([asdict(one) for one in found])
        return
    terminal.print_table([{"name": one.name, "where": one.where or "not found", "what": one.what} for one in found])
    typer.echo("Point TRANSFUSION_DATA at your downloads. How to get a set: transfusion data show NAME")


@data_app.command("show", epilog="Example: transfusion data show chest_xray")
def data_show(
    name: Annotated[str, Argument(help="A data set by name, or your own folder, zip or csv.")],
    skip: Annotated[bool, Option(help="List faulty rows and names as left out instead of stopping.")] = False,
    as_json: Json = False,
) -> None:
    """Print a data set's datasheet: source, licence, splits, classes, units."""
    from transfusion_lib import data

    sheet = data.show(name, on_bad="skip" if skip else "error")
    if as_json:
        terminal.print_json(asdict(sheet))
    else:
        terminal.print_sheet(sheet)


@data_app.command("check", epilog="Example: transfusion data check ~/images.zip")
def data_check(
    path: Annotated[str, Argument(help="Your folder, zip, csv or MedMNIST file; :TASK may follow.")],
    page: Annotated[Path | None, Option(metavar="FILE", help="Where the audit goes, as a page to open.")] = None,
    as_json: Json = False,
) -> None:
    """Decode every image of your files and print every fault with its repair; any fault gives exit status 2.

    Ends with an audit to open: splits, units, copies by name, what was left out, sizes, a contact sheet per class.
    """
    from transfusion_lib import data
    from transfusion_lib.data.reading import audit

    found = data.check(path)
    if as_json:
        terminal.print_json({**asdict(found.without_pictures()), "ok": found.ok})
    else:
        terminal.print_check(path, found)
    if page or not as_json:
        note(f"audit: open {audit.write(found, file=page).resolve().as_uri()}")
    if not found.ok:
        raise typer.Exit(UserError.exit_status)


@app.command(epilog="Example: transfusion models resnet50")
def models(
    name: Annotated[str | None, Argument(help="One network, with its cut points.")] = None,
    size: Annotated[int, Option(help="Edge of the images in pixels, for the multiply-adds.")] = 224,
    as_json: Json = False,
) -> None:
    """Print the networks: parameters, multiply-adds, stages, pretrained weights."""
    from transfusion_lib import networks
    from transfusion_lib.spec import ModelSpec

    names = [name] if name else list(networks.TABLE)
    found = [asdict(networks.describe(ModelSpec(name=one), size=size)) for one in names]
    if as_json:
        terminal.print_json(found)
    elif name:
        terminal.print_pairs(found[0])
    else:
        terminal.print_table([
            {"name": row["name"], "parameters": row["parameters"], f"MACs at {size} px": row["macs"],
             "weights": row["weights"], "stages": " ".join(row["stages"])}
            for row in found
        ])  # fmt: skip


app.add_typer(commands.app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"transfusion {__version__}")
        from transfusion_lib.training import provenance  # PyTorch takes seconds: the version stands there meanwhile

        terminal.print_pairs(provenance.here())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, Option("--version", callback=_version, is_eager=True, help="For bug reports.")] = False,
) -> None:
    pass


def _stopped(_number: int, _frame: object) -> None:
    """End on a SIGTERM that comes before anything is trained, or after it."""
    note("stopped on request; nothing was being trained, and the same command begins again")
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
