"""From notebooks to the book: parameters, profiles, execution, the gate, rendering.

``build.book`` and ``build.chapter`` are what the command line calls; every other module here is one step of them.
``prepare`` has the missing runs of all chapters trained; a chapter then finds them in the store.
"""
