"""The chapter ``own``: which network, which start, on anyone's images."""
