"""Runs an exercise's checks on one text."""
