"""The chapter ``convergence``: what it runs and what it shows."""
