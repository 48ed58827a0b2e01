"""The chapter ``reuse``: what it runs and what it shows."""
