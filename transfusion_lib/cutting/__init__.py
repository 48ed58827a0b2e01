"""``transfusion cut``: find where to cut a network, report it, export it."""
