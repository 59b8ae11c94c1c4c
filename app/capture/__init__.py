"""Reads frames from cameras, streams, files and image folders, and records video."""
