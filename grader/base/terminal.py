"""What the environment says of the terminal."""

import os


def wants_plain() -> bool:
    """Whether nothing is to be styled, with colours or in bold."""
    return "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
