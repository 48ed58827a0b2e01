"""The chapter ``differential``: what it runs and what it shows."""
