"""Pictures that are computed: each a pure function of a seed, an index and a size.

The painters know numpy only; the data sets made of these pictures are in ``data.sources``: fundus, chest, adrenal.
"""
