"""Tables as pages show them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler


def page_table(
    frame: pd.DataFrame,
    formats: Mapping[str, str] | None = None,
    *,
    blank: str | None = None,
    thousands: str = "",
    html: Sequence[str] = (),
) -> Styler:
    """Return ``frame`` for a page: without row numbers, and with the names in it as text, never as markup.

    ``formats`` gives a format for each column that needs one, ``blank`` what stands for a missing value; the columns
    ``html`` are markup, which is shown as it is.
    """
    known: dict[Any, Any] = dict(formats or {})
    shown = frame.style.format(known, na_rep=blank, thousands=thousands or None, escape="html")
    shown = shown.format(str, subset=list(html)) if html else shown
    return shown.format_index(escape="html", axis="columns").hide(axis="index")
