"""The commands that cut a network for your own images, and that use and judge what was exported."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from transfusion_lib.book import terminal
from transfusion_lib.book.terminal import Json, note

app = typer.Typer()

Exported = Annotated[Path, Argument(metavar="MODEL", help="An ONNX file of transfusion cut, or the folder it wrote.")]
Positive = Annotated[str | None, Option(metavar="CLASS", help="The positive one of two classes.")]
Unit = Annotated[str | None, Option(metavar="COLUMN", help="Column, or pattern in file names, that says the patient.")]
OnBad = Annotated[str, Option(metavar="error|skip", help="Stop at what cannot be read, or leave it out.")]
HashNames = Annotated[bool, Option("--hash-names", help="Write 16 digits of each name's sha256 instead of the name.")]
Specificity = Annotated[int, Option(min=50, max=99, help="Per cent on validation: where the threshold lies.")]
Sensitivity = Annotated[int, Option(min=50, max=99, help="The same by sensitivity, a second threshold.")]


@app.command(epilog="Example: transfusion cut --data ~/images --quick")
def cut(
    place: Annotated[
        str, Option("--data", metavar="PLACE", help="A folder of class folders, or a set; :TASK may follow.")
    ],
    model: Annotated[str, Option(help="The network to cut (transfusion models).")] = "efficientnet_lite0",
    quick: Annotated[bool, Option("--quick", help="64 pixels, 40 steps, 2 seeds: minutes on two cores.")] = False,
    size: Annotated[int | None, Option(help="Edge of the images in pixels.")] = None,
    seeds: Annotated[int | None, Option(min=1, help="Trainings of each candidate.")] = None,
    steps: Annotated[int | None, Option(min=1, help="Optimizer steps of each training.")] = None,
    batch_size: Annotated[int | None, Option(min=2, help="Images per step.")] = None,
    learning_rate: Annotated[float | None, Option(help="Adam's.")] = None,
    start: Annotated[str, Option(help="pretrained or random.")] = "pretrained",
    class_weights: Annotated[str, Option(help="none, or balanced: rare classes weigh more.")] = "none",
    positive: Positive = None,
    unit: Unit = None,
    on_bad: OnBad = "error",
    specificity: Specificity = 90,
    sensitivity: Sensitivity = 90,
    hash_names: HashNames = False,
    rule: Annotated[str, Option(help="best on validation, or one-se: the cheapest not told apart.")] = "best",
    out: Annotated[Path, Option(help="Folder for the network, its card and the search.")] = Path("cut"),
    export: Annotated[bool, Option(help="Write the chosen network as ONNX and torch.export.")] = True,
    as_json: Json = False,
) -> None:
    """Find how much of a network your images need, and export that part.

    Stopped and started again, it continues where it was: finished trainings are in the store.
    """
    from transfusion_lib.cutting import card
    from transfusion_lib.cutting import cut as tool
    from transfusion_lib.cutting.report import Levels

    checked, begin = tool.checked_rule(rule), tool.checked_start(start)
    train: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    train |= {"class_weights": class_weights, "positive": positive, "unit": unit, "on_bad": on_bad}
    search = tool.plan(place, model=model, size=size, seeds=seeds, start=begin, quick=quick, **train)
    levels: Levels = {"specificity": specificity, "sensitivity": sensitivity}
    folder = out if export else None
    advice, done = card.carry_out(search, rule=checked, folder=folder, levels=levels, hide=hash_names, say=note)
    if as_json:
        terminal.print_json(tool.as_json(advice))
    else:
        terminal.print_table(card.table(advice))
        terminal.print_lines(card.lines(advice, done))


@app.command(epilog="Example: transfusion predict cut ~/new-images --out answers.csv")
def predict(
    model: Exported,
    images: Annotated[Path, Argument(metavar="IMAGES", help="A folder, a zip, a csv that names images, or an image.")],
    out: Annotated[Path | None, Option(metavar="FILE", help="The csv; standard output by default.")] = None,
    on_bad: OnBad = "error",
    hash_names: HashNames = False,
) -> None:
    """Write a csv with the name of each image and the probability of each class."""
    from transfusion_lib.cutting import model as tool

    for line in tool.write_predictions(model, images, out=out, on_bad=on_bad, hide=hash_names):
        note(f"left out: {line}")


@app.command(epilog="Example: transfusion evaluate cut ~/other-site --by sex --by age")
def evaluate(
    model: Exported,
    path: Annotated[str, Argument(metavar="PATH", help="A labelled folder, zip or csv, or a set; :TASK may follow.")],
    by: Annotated[list[str] | None, Option(metavar="COLUMN", help="Also by this column of the csv; repeat.")] = None,
    specificity: Specificity = 90,
    sensitivity: Sensitivity = 90,
    unit: Unit = None,
    on_bad: OnBad = "error",
    hash_names: HashNames = False,
    out: Annotated[Path, Option(help="Folder for the report, its numbers and a row for each image.")] = Path(
        "evaluation"
    ),
    as_json: Json = False,
) -> None:
    """Print how good an exported network is on labelled images, those that it was trained or chosen on left out.

    Scores, calibration, confusion matrix, sensitivity and specificity at thresholds that were chosen on validation.
    """
    from transfusion_lib.cutting import report

    levels: report.Levels = {"specificity": specificity, "sensitivity": sensitivity}
    found, text = report.elsewhere(
        model, path, levels=levels, by=by or (), unit=unit, on_bad=on_bad, folder=out, hide=hash_names
    )
    if as_json:
        terminal.print_json(report.values(found))
    else:
        typer.echo(text)
