"""From what happened to a verdict and a sentence."""
