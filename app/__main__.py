"""``python -m app`` is the ``maskwatch`` command."""

from app.cli import entry

if __name__ == "__main__":
    entry()
