"""What every benchmark reports: rows of a figure, what it is measured against, and what was promised."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from transfusion_lib.training import provenance
from transfusion_lib.training.device import cores


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure."""

    what: str
    value: float
    unit: str
    target: str | None = None
    """What was promised, in words."""
    met: bool | None = None
    details: str = ""


@dataclass
class Report:
    """A benchmark's rows as they come, each shown at once."""

    bench: str
    say: Callable[[str], None]
    path: Path | None = None
    """Where the result is kept, from the first figure on."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """What was measured."""
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        what: str,
        value: float,
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        details: str = "",
    ) -> None:
        """Add a figure, with the bound that was promised."""
        target, met = None, None
        if at_least is not None:
            target, met = f"at least {at_least:g}", value >= at_least
        if at_most is not None:
            target, met = f"at most {at_most:g}", value <= at_most
        self.rows.append(Row(what=what, value=value, unit=unit, target=target, met=met, details=details))
        self.save()
        judged = f" ({target}: {'met' if met else 'missed'})" if target else ""
        self.say(f"{what}: {value:,.4g} {unit}{judged}{'; ' if details else ''}{details}")

    def note(self, line: str) -> None:
        """Add a sentence on how it was measured."""
        self.notes.append(line)
        self.save()
        self.say(line)

    def result(self) -> dict[str, Any]:
        """Return everything, with the machine, as JSON values."""
        made = provenance.record(self.device)
        made["machine"]["cores"] = cores()
        return {"bench": self.bench, "rows": [asdict(row) for row in self.rows], "notes": self.notes, "made": made}

    def save(self) -> None:
        """Write what is known so far as JSON."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.result(), indent=1) + "\n", encoding="utf-8")
