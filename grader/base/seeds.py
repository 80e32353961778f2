"""Seeds: one for each check and each submission, and new ones that nobody can know."""

import hashlib
import secrets


def derive(seed: int, name: str) -> int:
    """A seed for what is named: unlike its neighbours', and the same whether or not they ran."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:6], "big")


def of_submission(seed: int, student: str, exercise: str) -> int:
    """The seed of one submission, of the seed of a batch."""
    return derive(seed, f"{student}/{exercise}") % (1 << 31)


def new_seed() -> int:
    """A seed that no learner can know."""
    return secrets.randbits(31)
