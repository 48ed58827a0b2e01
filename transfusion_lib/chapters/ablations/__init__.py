"""The chapter ``ablations``: what it runs and what it shows."""
