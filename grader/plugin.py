"""The pytest plugin, as conftest files name it: a learner's file collects the hidden checks of its exercise."""

pytest_plugins = [
    "grader.judging.collect",
    "grader.judging.fixtures",
    "grader.judging.verdict_of",
    "grader.learner.examples_file",
    "grader.learner.reporter",
]
