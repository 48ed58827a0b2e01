"""One module a source of data: how its files are recognised and read, or how it is computed."""
