"""Pictures that are computed: each a pure function of a seed, an index and a size.

Imports numpy only, so that a process that helps drawing starts in a fraction of a second; the data sets made of
these pictures are in ``data.fundus`` and ``data.chest``.
"""
