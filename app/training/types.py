"""Constants of the training package. No heavy imports: the command line reads them for its help texts."""

EQUAL_PX = 48
"""Resolution for the equal-resolution test. Nearly every image of faces12k is larger, in both classes."""
