"""Files and texts of ``transfusion cut``: the table, the recommendation, the exported network and its model card."""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfusion_lib import data, runs
from transfusion_lib.analysis.evaluation import Task, points
from transfusion_lib.cutting import model as files
from transfusion_lib.cutting.cut import Advice, Row, Rule, advise, as_json
from transfusion_lib.cutting.export import Exported, export, need_packages
from transfusion_lib.cutting.model import Model
from transfusion_lib.cutting.report import Judged, Levels, judged, save, sections, shown
from transfusion_lib.data.dataset import Dataset
from transfusion_lib.errors import printable
from transfusion_lib.markup import markdown, plain
from transfusion_lib.networks import first_convolution
from transfusion_lib.runs import engines
from transfusion_lib.runs.grid import Say
from transfusion_lib.runs.search import Search
from transfusion_lib.stats.words import told
from transfusion_lib.training import interrupts, provenance
from transfusion_lib.training.batches import match_channels
from transfusion_lib.training.device import resources

CARD = "MODEL_CARD.md"
CHECKED = 16  # test images on which the exported files must agree with the network
TIMED = (1, 32)  # images at once of the exported file, each ROUNDS times
ROUNDS = 15


def table(advice: Advice) -> list[dict[str, Any]]:
    """Return the frontier as rows of text for a terminal or a card, from the smallest network on."""
    return [_cells(row, recommended=row.cut == advice.chosen.cut) for row in advice.rows]


def _cells(row: Row, *, recommended: bool) -> dict[str, Any]:
    return {
        "cut after": f"{row.cut} (whole)" if row.whole else row.cut,
        "validation AUPRC": f"{row.validation:.3f}",
        "minus best": "best" if row.behind is None else told(row.behind, signed=True),
        "parameters": f"{row.costs.parameters / 1e6:.2f} M",
        "MACs": f"{row.costs.macs / 1e6:.1f} M",
        **{f"ms for {batch}": middle(times) for batch, times in row.costs.latency_ms.items()},
        "memory": f"{row.costs.memory / 2**20:.0f} MiB",
        "": "recommended" if recommended else "frontier" if row.on_frontier else "",
    }


def recommendation(advice: Advice) -> list[str]:
    """Return the recommendation and its uncertainty, in lines."""
    row, whole = advice.row, advice.whole_row
    if row.whole:
        lines = [f"recommended: the whole {_model(advice)}; on these validation images no cut is better"]
    else:
        saved = ", ".join(
            f"{1 - getattr(row.costs, what) / getattr(whole.costs, what):.0%} fewer {word}"
            for what, word in (("parameters", "parameters"), ("macs", "multiply-adds"))
        )
        lines = [f"recommended: {_model(advice)} cut after {row.cut}: {saved} than the whole network"]
    for score, parts in advice.scores.items():
        values = ", ".join(f"{of} {shown(value)}" for of, value in parts.items() if of != "difference")
        difference = f"; cut minus whole {told(parts['difference'], signed=True)}" if "difference" in parts else ""
        lines.append(f"test {score.upper()}: {values}{difference}")
    first = next(iter(advice.scores["auprc"].values()))
    lines.append(f"(mean over seeds, 95 % interval: {first.what_varies} varying; the test set was read once, here)")
    if advice.best != row.cut:
        lines.append(f"best on validation: {advice.best}; the rule {advice.rule} takes the cheapest that is as good")
    return lines


def lines(advice: Advice, done: Exported | None) -> list[str]:
    """Return the recommendation, its limits and the files, in lines."""
    found = [*recommendation(advice), *(f"note: {line}" for line in advice.limits)]
    if done is not None:
        worst = max(done.differences.values())
        card_at = done.onnx.parent / CARD
        found.append(f"written: {done.onnx}, {done.torch} (within {worst:.0e} of the network), {card_at}")
    return found


def middle(times: Sequence[float]) -> str:
    """Return the median of times and the range of their middle half."""
    low, half, high = np.quantile(times, [0.25, 0.5, 0.75])
    return f"{half:.1f} ({low:.1f} to {high:.1f})"


def carry_out(
    search: Search, *, rule: Rule, folder: Path | None, levels: Levels, hide: bool, say: Say
) -> tuple[Advice, Exported | None]:
    """Train what a search lacks, until SIGTERM; return its advice and the files in ``folder``, without one none."""
    if folder is not None:
        need_packages()  # before minutes of training, not after
    with interrupts.on_signals():
        advice = advise(search, rule=rule, say=say, engine=engines.automatic)
    return advice, None if folder is None else write(advice, folder, levels=levels, hide=hide)


def write(advice: Advice, folder: Path, *, levels: Levels, hide: bool = False) -> Exported:
    """Write the exported network, what it says of the test images, its card and the search; return its files.

    Thresholds for ``levels`` are chosen on the validation images by the exported file. ``hide`` names cases by hash.
    """
    dataset = data.load(advice.search.base.data)
    network = advice.exported.network()
    images = match_channels(dataset.test.images[:CHECKED].float() / 255, channels=network.in_channels)
    done = export(network, images, kind=dataset.kind, folder=folder)
    shape = (first_convolution(network).in_channels, *images.shape[2:])
    task, session = Task.of(dataset), files.session_of(done.onnx)
    chosen = points(task, files.cases(session, dataset.val))
    about = files.metadata(dataset, mean=network.mean, std=network.std, points=chosen, run=advice.exported.key)
    files.describe(done.onnx, about)
    model = Model.open(done.onnx)
    found = judged(files.cases(model.session, dataset.test), task, model.points, levels=levels)
    text = card(advice, dataset, done, found, shape=shape, about=about, times=_times(model, images), hide=hide)
    (folder / CARD).write_text(text, encoding="utf-8")
    save(found, folder, hide=hide)
    (folder / "search.json").write_text(json.dumps(as_json(advice), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return done


def _times(model: Model, images: torch.Tensor) -> dict[int, list[float]]:
    """Return milliseconds of the exported file in onnxruntime by the number of images at once."""
    times: dict[int, list[float]] = {}
    for batch in TIMED:
        given = {"images": images[:1].repeat(batch, *(1,) * (images.ndim - 1)).numpy()}
        for number in range(-2, ROUNDS):
            began = time.perf_counter()
            model.session.run(None, given)
            if number >= 0:
                times.setdefault(batch, []).append(1000 * (time.perf_counter() - began))
    return times


def _scores(advice: Advice) -> list[dict[str, str]]:
    """Return the rows of the card's table of test scores."""
    names = {"cut": "recommended", "whole": "whole network", "difference": "recommended minus whole"}
    return [
        {
            "test score": score.upper(),
            "of": names[of],
            "mean and 95 % interval": told(value, signed=True) if of == "difference" else shown(value),
            "varying": value.what_varies,
        }
        for score, parts in advice.scores.items()
        for of, value in parts.items()
    ]


_ANSWERS = {"multiclass": "softmax: one class each", "multilabel": "sigmoid: any number of labels"}


def _what(advice: Advice) -> str:
    return f"the whole {_model(advice)}" if advice.row.whole else f"{_model(advice)} cut after {advice.row.cut}"


def _classes(dataset: Dataset) -> str:
    return ", ".join(f"{number} {plain(name)}" for number, name in enumerate(dataset.classes))


def _differences(done: Exported) -> str:
    return "; ".join(f"`{name}` {value:.1e}" for name, value in done.differences.items())


def _counts(dataset: Dataset) -> str:
    return ", ".join(f"{len(split)} {name}" for name, split in dataset.splits().items())


def card(
    advice: Advice,
    dataset: Dataset,
    done: Exported,
    found: Judged,
    *,
    shape: tuple[int, ...],
    about: dict[str, str],
    times: dict[int, list[float]],
    hide: bool,
) -> str:
    """Return the model card, in Markdown."""
    row, what = advice.row, _what(advice)
    return f"""# Model card: {what}

**Not for clinical use.** This is a research network, trained automatically and reviewed by nobody. It must not inform
the care of any person.

## What it is

A classifier of {_classes(dataset)} ({_ANSWERS[dataset.kind]}),
{row.costs.parameters:,} parameters, {row.costs.macs:,} multiply-adds an image.
Cut by the two-stage search of TruncatedTL (Peng et al., BMVC 2023), judged by validation AUPRC (rule: {advice.rule}).

| file | what |
|---|---|
| `{done.onnx.name}` | ONNX; input `images`, output `probabilities` |
| `{done.torch.name}` | torch.export; `torch.export.load("{done.torch.name}").module()(images)` |

Input: {about["input"]}; n x {" x ".join(map(str, shape))}, any n. Images: {about["resampling"]}. Normalisation is
inside. Output: probabilities, n x {len(dataset.classes)}. The ONNX file's metadata says all of this, the thresholds
below included. Largest difference from the trained network, 1, 5 and 64 images at once: {_differences(done)}.
In onnxruntime: {_told(times)} on this machine, the range being that of the middle half of {ROUNDS} passes.

## Scores of the exported file

`{done.onnx.name}` holds run `{advice.exported.key[:12]}`, of {len(advice.search.seeds)} seeds the best on validation.
Thresholds were chosen on the validation images before the test images were read; `cases.csv` has each image's
probabilities. Positive class: {plain(found.task.asked) or "none, each class against the rest"}.
{_weighted(advice)}
{sections(found, hide=hide)}

## Scores of the search

{_table(_scores(advice))}

Means over {len(advice.search.seeds)} training seeds. The test set was read once, after the choice.

{_search(advice, dataset, done)}"""


def _search(advice: Advice, dataset: Dataset, done: Exported) -> str:
    """Return the card's second half: the search, and where the network comes from."""
    return f"""## The search

{_table(table(advice))}

"minus best" has a 95 % interval over seeds and validation images. Milliseconds are medians on this machine for
that many images at once in PyTorch, with the range of the middle half; memory is what is alive in one pass of the
largest batch.

{_origin(advice, dataset, done)}"""


def _origin(advice: Advice, dataset: Dataset, done: Exported) -> str:
    """Return the sections of the card on data, limits and how it was made."""
    made = provenance.record(resources().device)
    return f"""## Data

{plain(dataset.name)}, task {plain(dataset.task)}: {_counts(dataset)}.
{"**Synthetic images.** " if dataset.synthetic else ""}Fingerprint
`{dataset.fingerprint}`. Split by {plain(dataset.notes.get("unit", "image"))}.

## Limits

{chr(10).join(f"- {plain(line)}" for line in advice.limits)}
- Nobody has examined whom it fails: scores by sex, age, site or device are measured by
  `transfusion evaluate {done.onnx.name} PATH --by COLUMN`.

## How it was made

```
{printable(runs.label(advice.exported.spec))}
transfusion run {shlex.quote(advice.exported.spec.to_json())}
```

Code {(made["commit"] or "no git checkout")[:12]}{", with uncommitted changes" if made["dirty"] else ""}; Python
{made["python"]}, {", ".join(f"{name} {version}" for name, version in made["versions"].items())}; {made["finished"]}.
"""


def _model(advice: Advice) -> str:
    return advice.search.base.model.name


def _told(times: dict[int, list[float]]) -> str:
    return ", ".join(f"{middle(each)} ms for {batch} at once" for batch, each in times.items())


def _weighted(advice: Advice) -> str:
    if advice.exported.spec.train.class_weights == "none":
        return ""
    return "Classes weighed alike in training: the probabilities do not follow how frequent they are.\n"


def _table(rows: list[dict[str, Any]]) -> str:
    return markdown(list(rows[0]), ([str(value) for value in row.values()] for row in rows))
