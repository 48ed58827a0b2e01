"""What do the filters keep of their start? (Transfusion, section 4, Figure 5)."""

from typing import ClassVar

from transfusion_lib.chapters.kit.starts import Count, Starts


class Filters(Starts):
    """conv1 before and after training, how far each filter moved, which are Gabors, and what stages respond to."""

    name: ClassVar[str] = "filters"

    shown_filters: Count
    null_filters: Count
    shown_channels: Count
    optimise_steps: Count
