"""From files to a ``Dataset``: archives, tables, decoding, splits, the cache."""
