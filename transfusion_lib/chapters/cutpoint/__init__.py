"""The chapter ``cutpoint``: what it runs and what it shows."""
