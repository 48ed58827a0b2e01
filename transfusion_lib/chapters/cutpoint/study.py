"""Where does reuse end, and does that tell where to cut? (TruncatedTL, section 3.3, Figure 4; appendix C.1)."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from transfusion_lib.analysis import depth
from transfusion_lib.chapters.kit.curves import Count
from transfusion_lib.chapters.kit.cuts import Arm, Cuts, by_spec
from transfusion_lib.errors import ParameterError
from transfusion_lib.runs import Run
from transfusion_lib.spec import RunSpec


class Cutpoint(Cuts):
    """The runs of the chapter "Differential transfer", looked into, and one more at the cut point that SVCCA names."""

    name: ClassVar[str] = "cutpoint"

    probe_images: Count | None
    pooled_images: Count | None
    per_image: Count
    keep: Annotated[float, Field(gt=0, le=1)]
    overlap: Annotated[float, Field(gt=0, lt=1)]
    cam_images: Count | None
    examples: Count

    @model_validator(mode="after")
    def _cuts(self) -> "Cutpoint":
        if "TTL" not in self.methods:
            raise ParameterError('methods: add "TTL": where to cut is asked of the network that is cut')
        return self

    def then(self, runs: Sequence[Run]) -> list[RunSpec]:
        """Return the second stage of each search, then the truncated network at the cut point of appendix C.1."""
        more = super().then(runs)
        if more:
            return more
        asked = {run.spec for run in runs}
        return [spec for spec in self.searches()["TTL"].specs_at(self.rule(runs)) if spec not in asked]

    def before_after(self, run: Run, *, every_layer: bool = False) -> list[dict[str, Any]]:
        """Return SVCCA before against after of one run, with the chapter's samples; see ``depth``."""
        rows: list[dict[str, Any]] = depth.before_after(
            run, images=self.probe_images, per_image=self.per_image, keep=self.keep, every_layer=every_layer
        )["rows"]
        return rows

    def overlaps(self, runs: Sequence[Run]) -> list[dict[str, float]]:
        """Return, for each seed's full fine-tuning, the overlap with unrelated features at each cut point."""
        known = by_spec(runs)
        full = [known[spec] for spec in self.seeded(self.whole(self.network))]
        return [depth.overlaps(self.before_after(run, every_layer=True)) for run in full]

    def rule(self, runs: Sequence[Run]) -> str:
        """Return the cut point of appendix C.1, from the overlaps' mean over seeds."""
        found = self.overlaps(runs)
        means = {cut: float(np.mean([one[cut] for one in found])) for cut in found[0]}
        return depth.rule_cut(means, threshold=self.overlap)

    def rule_arm(self, runs: Sequence[Run]) -> Arm:
        """Return the truncated network at that cut point."""
        known, cut = by_spec(runs), self.rule(runs)
        chosen = tuple(known[spec] for spec in self.searches()["TTL"].specs_at(cut))
        return Arm(name="TTL-SVCCA", method="TTL", cut=cut, runs=chosen)
