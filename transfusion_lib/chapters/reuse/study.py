"""Where does feature reuse happen? The questions of later papers (Neyshabur et al. 2020, Zhang et al. 2022)."""

from typing import Annotated, ClassVar

from pydantic import Field

from transfusion_lib.chapters.kit.starts import Count, Starts


class Reuse(Starts):
    """Probes, stages set back, interpolation between networks, and shuffled blocks."""

    name: ClassVar[str] = "reuse"

    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2)]
    """Lines join pairs of runs."""
    probe_train: Count
    probe_test: Count
    neighbours: Count
    test_cases: Count
    points: Annotated[int, Field(ge=3)]
    blocks: Annotated[list[Count], Field(min_length=1)]
