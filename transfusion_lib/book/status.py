"""The page "Status of this build", from what papermill recorded in each executed notebook."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transfusion_lib.book.execute import Build
from transfusion_lib.book.profiles import Profile
from transfusion_lib.book.project import Chapter, read_notebook


def record(chapter: Chapter, notebook: Path) -> dict[str, Any]:
    """Return one row of the status page: chapter, title, outcome, seconds, time of the start, parameters."""
    metadata = read_notebook(notebook)["metadata"]
    run = metadata["papermill"]
    return {
        "chapter": chapter.name,
        "title": chapter.title,
        "page": chapter.page,
        "outcome": "failed" if run["exception"] else "passed",
        "seconds": round(run["duration"], 1),
        "started": run["start_time"][:19] + "Z",
        "profile": metadata["transfusion"]["profile"],
        "parameters": metadata["transfusion"]["parameters"],
        "changed": sorted(run["parameters"]),
    }


def write(rows: Sequence[dict[str, Any]], profile: Profile, build: Build) -> None:
    """Write the page ``status.md`` and ``build.json``, which ``transfusion status`` reads."""
    table = [
        "| chapter | outcome | started (UTC) | duration | parameters |",
        "|---|---|---|---|---|",
        *(
            f"| [{row['title']}](/{row['page']}.ipynb) | {row['outcome']} | {row['started'][:16].replace('T', ' ')} "
            f"| {row['seconds']:.0f} s | {_parameters(row)} |"
            for row in rows
        ),
    ]
    lines = [
        "# Status of this build",
        "",
        f"Build `{build.id}`, profile **{profile.name}**. {profile.description}",
        "",
        "Every page of this book was made by this build, and every chapter was executed by it from top to bottom.",
        "Parameters in bold differ from the notebook's own.",
        "",
        *table,
        "",
    ]
    (build.source / "status.md").write_text("\n".join(lines), encoding="utf-8")
    summary = {"build": build.id, "profile": profile.name, "chapters": list(rows)}
    (build.folder / "build.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


def _parameters(row: dict[str, Any]) -> str:
    shown = (
        f"**`{name}={json.dumps(value)}`**" if name in row["changed"] else f"`{name}={json.dumps(value)}`"
        for name, value in row["parameters"].items()
    )
    return " ".join(shown).replace("|", "\\|")
