"""Is it better to treat bottom and top layers differently? (TruncatedTL, section 4, Tables 1 and 2)."""

from typing import Annotated, ClassVar

from pydantic import Field

from transfusion_lib.chapters.kit.curves import Count
from transfusion_lib.chapters.kit.cuts import Cuts


class Differential(Cuts):
    """Accuracy and cost of every method; costs are measured on this machine, once."""

    name: ClassVar[str] = "differential"

    latency_batches: Annotated[list[Count], Field(min_length=1)]
    rounds: Annotated[int, Field(ge=5)]
