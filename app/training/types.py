"""Constants that the parts of training share. No heavy imports: the commands read them for their help."""

EQUAL_PX = 48
"""One resolution for all: below nearly every picture of both classes of faces12k."""
