"""Tables as pages show them."""

from collections.abc import Mapping

import pandas as pd
from pandas.io.formats.style import Styler


def page_table(
    frame: pd.DataFrame, formats: Mapping[str, str] | None = None, *, blank: str | None = None, thousands: str = ""
) -> Styler:
    """Return ``frame`` for a page: without row numbers, and with the names in it as text, never as markup.

    ``formats`` gives a format for each column that needs one, ``blank`` what stands for a missing value.
    """
    shown = frame.style.format(dict(formats or {}), na_rep=blank, thousands=thousands or None, escape="html")  # type: ignore[arg-type]
    return shown.format_index(escape="html", axis="columns").hide(axis="index")
