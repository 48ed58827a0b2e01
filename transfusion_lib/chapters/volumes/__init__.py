"""The chapter ``volumes``: what it runs and what it shows."""
