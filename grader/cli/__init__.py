"""The command `grader`: talk around one call each."""
