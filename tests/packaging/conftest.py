"""The build's own modules lie beside it, in packaging/, and belong to no package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "packaging"))
