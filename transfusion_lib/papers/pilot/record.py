"""Verdicts on disk: one JSON file, by profile and claim, that chapters add to and the scoreboard reads."""

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from transfusion_lib.errors import StoreError
from transfusion_lib.papers.pilot.judge import Finding, Verdict, judge
from transfusion_lib.papers.pilot.table import TABLE


def write(path: Path, verdicts: Iterable[Verdict], *, profile: str) -> None:
    """Add the verdicts of a profile to the file, in place of earlier ones on the same claims."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):  # chapters are executed side by side
        known = _load(path)
        known.setdefault(profile, {}).update({verdict.claim: asdict(verdict) for verdict in verdicts})
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as part:
            json.dump(known, part, indent=1, sort_keys=True, allow_nan=False)
            part.write("\n")
        Path(part.name).replace(path)


def read(path: Path, *, profile: str) -> dict[str, Verdict]:
    """Return the recorded verdicts of a profile by claim; an absent file holds none."""
    try:
        return {claim: _verdict(fields) for claim, fields in _load(path).get(profile, {}).items() if claim in TABLE}
    except (TypeError, KeyError, AttributeError) as error:
        raise _damaged(path) from error


def scoreboard(path: Path, *, profile: str, also: Sequence[str] = ()) -> list[Verdict]:
    """Return one verdict for every claim, in the table's order; what nobody measured is not tested.

    A claim that ``profile`` did not test has the verdict of the first profile in ``also`` that did.
    """
    found = read(path, profile=profile)
    for name in also:
        for claim, verdict in read(path, profile=name).items():
            if verdict.outcome != "not tested" and (claim not in found or found[claim].outcome == "not tested"):
                found[claim] = verdict
    return [found.get(claim) or judge(claim, None) for claim in TABLE]


def shown(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict with what the table says of its claim, as JSON values."""
    claim = TABLE[verdict.claim]
    return {
        "claim": claim.id, "verdict": verdict.outcome, "statement": claim.statement, "source": claim.source,
        "chapter": claim.chapter, "estimand": claim.estimand, "rule": claim.rule, "reason": verdict.reason,
        "findings": [asdict(finding) for finding in verdict.findings], "runs": list(verdict.runs),
    }  # fmt: skip


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(known, dict):
        raise _damaged(path)
    return known


def _damaged(path: Path) -> StoreError:
    return StoreError(f"{path}: not a record of verdicts; delete it and make the chapters again")


def _verdict(fields: dict[str, Any]) -> Verdict:
    findings = tuple(Finding(**one) for one in fields["findings"])
    return Verdict(**{**fields, "findings": findings, "runs": tuple(fields["runs"])})
