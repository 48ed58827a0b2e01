"""From notebooks to the book: parameters, profiles, execution, the gate, rendering.

``build.book`` and ``build.chapter`` are what the command line calls; every other module here is one step of them.
Nothing here trains: chapters do, in their own kernels.
"""
