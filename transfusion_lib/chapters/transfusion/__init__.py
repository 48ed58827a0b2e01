"""The chapter ``transfusion``: what it runs and what it shows."""
