"""All that runs in the cage: a question, the learner's code, an answer as data. Reaches no check."""
