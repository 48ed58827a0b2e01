"""The command line: ``transfusion``, or ``python -m transfusion_lib``.

Exit status 0 is success, 2 a mistake of the user's, 1 a failure. Heavy modules are imported by the command that needs
them, so that ``--help`` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from transfusion_lib import __version__
from transfusion_lib.errors import TransfusionError

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


ProfileOption = Annotated[
    str, typer.Option("--profile", metavar="PROFILE", help="quick, published or paper.", autocompletion=_profile_names)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="Set one parameter; repeat for more."),
]
ChapterName = Annotated[str, typer.Argument(autocompletion=_chapter_names)]


@app.command(epilog="Example: transfusion book --profile quick")
def book(
    profile: ProfileOption = "quick",
    only: Annotated[
        str | None,
        typer.Option(metavar="CHAPTER", help="Leave all other chapters out.", autocompletion=_chapter_names),
    ] = None,
) -> None:
    """Make the book and print the page to open."""
    from transfusion_lib.book import build, project

    _open(build.book(project.find(), profile=profile, only=only, say=typer.echo))


@app.command(epilog="Example: transfusion chapter convergence -p seeds=[0,1]")
def chapter(
    name: ChapterName,
    assignments: Assignments = None,
    profile: ProfileOption = "quick",
    list_parameters: Annotated[bool, typer.Option("--list-parameters", help="Print them and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make one chapter with parameters of your own and print its page."""
    from transfusion_lib.book import build, parameters, profiles, project

    here = project.find()
    if list_parameters:
        one = here.chapter(name)
        values = parameters.effective(one, build.resolve(one, profiles.load(here, profile), assignments or ()))
        _list_parameters(parameters.declared(one), values, as_json=as_json)
        return
    _open(build.chapter(here, name, assignments=assignments or (), profile=profile, say=typer.echo))


def _list_parameters(declared: Any, values: dict[str, Any], *, as_json: bool) -> None:
    rows = [
        {"name": p.name, "type": p.type, "value": values[p.name], "default": p.default, "meaning": p.meaning}
        for p in declared
    ]
    if as_json:
        _print_json(rows)
        return
    _print_table(rows)


def _open(page: Path) -> None:
    typer.echo(f"open {page.resolve().as_uri()}")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows with equal keys as aligned columns under their names."""
    if not rows:
        return
    texts = [[value if isinstance(value, str) else json.dumps(value) for value in row.values()] for row in rows]
    table = [list(rows[0]), *texts]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"transfusion {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an error of ours becomes one message and its exit status, never a traceback."""
    try:
        app()
    except TransfusionError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        typer.echo("interrupted; finished runs stay in the store", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
