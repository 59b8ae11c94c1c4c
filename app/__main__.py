"""``python -m app`` is the ``maskwatch`` command."""

from app.cli.main import entry

if __name__ == "__main__":
    entry()
