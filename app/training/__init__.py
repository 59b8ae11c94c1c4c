EQUAL_PX = 48
"""Resolution for the equal-resolution test. Nearly every image of faces12k is larger, in both classes."""
