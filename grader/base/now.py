"""The time as it is written down: UTC, so that a file that travels means the same everywhere."""

from datetime import UTC, date, datetime


def now() -> str:
    """ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def today() -> date:
    return datetime.now(UTC).date()
