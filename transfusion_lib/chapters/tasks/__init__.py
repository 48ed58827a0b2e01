"""The chapter ``tasks``: what it runs and what it shows."""
