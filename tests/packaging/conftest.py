"""Adds packaging/ to the import path: its modules belong to no package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "packaging"))
