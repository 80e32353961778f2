"""Whether a verdict may be the machine's doing."""

import msgspec


class Doubt(msgspec.Struct, frozen=True):
    """Why a verdict may be the machine's doing."""

    said: str
    proved: bool
