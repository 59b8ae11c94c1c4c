"""The ``maskwatch`` command. ``entry`` is the console script."""

from app.cli.main import entry as entry
