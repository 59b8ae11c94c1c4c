"""Tests of the archive scan need pyarrow."""

import pytest

pytest.importorskip("pyarrow", reason="pyarrow (maskwatch[scan]) is not installed")
