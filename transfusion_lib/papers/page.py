"""How each claim is judged, row by row, for the page "How we judge"."""

from collections.abc import Iterable
from dataclasses import dataclass

from transfusion_lib.papers.claims import CLAIMS, Claim
from transfusion_lib.papers.judge import judge
from transfusion_lib.papers.numbers import printed
from transfusion_lib.papers.power import Power, power


@dataclass(frozen=True, kw_only=True)
class Row:
    """One claim: what is measured, when it holds, what is planned, and what the paper's own numbers give."""

    id: str
    words: str
    source: str
    estimand: str
    rule: str
    plan: str
    """Planned runs of each arm and the effect that the power is computed for, part by part."""
    power: Power
    cells: str
    printed: str
    printed_outcome: str
    """The verdict of our rule on the paper's own numbers, or that it prints none which the rule can read."""
    printed_sentence: str


def table(claims: Iterable[Claim] = CLAIMS.values()) -> tuple[Row, ...]:
    """Return a row for each claim. Takes some seconds: the power of each is simulated."""
    return tuple(_row(claim) for claim in claims)


def _row(claim: Claim) -> Row:
    own = printed(claim.id)
    verdict = judge(claim, own) if own is not None else None
    return Row(
        id=claim.id,
        words=claim.words,
        source=claim.source,
        estimand=claim.estimand,
        rule=claim.rule,
        plan=_plan(claim),
        power=power(claim),
        cells=claim.cells,
        printed=claim.printed,
        printed_outcome=verdict.outcome if verdict else "no number that the rule can read",
        printed_sentence=verdict.sentence if verdict else "",
    )


def _plan(claim: Claim) -> str:
    planned = {name: part.plan for name, part in claim.asked.items() if part.plan is not None}
    return "; ".join(
        (f"{name}: " if len(claim.asked) > 1 else "") + f"{plan.runs} {plan.counts}, {plan.cases} "
        f"{'case' if plan.cases == 1 else 'cases'}, effect {plan.effect:g}"
        for name, plan in planned.items()
    )
