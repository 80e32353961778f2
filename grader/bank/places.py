"""Where exercises lie: in a clone, a student edition, or installed beside the grader; and where they are practised."""

from pathlib import Path

from grader.base.errors import HouseError

STUDENT = "dl_kata_student"
"""What the folder is called that holds the exercises of an installed student edition, beside the grader."""
INSTALLED = ("dl_kata", STUDENT)
"""The same of every edition; setup.py says it too."""
HANDED_OUT = "exercises/handed_out.json"
"""What `grader init` and `grader update` wrote to a practice folder, which is known by this file."""
ABOVE = Path(__file__).resolve().parents[2]
"""The folder that holds this package: a clone, or where pip installs."""


def is_bank(folder: Path) -> bool:
    """Whether it holds exercises, with their facts."""
    return (folder / "exercises" / "coverage.toml").is_file()


def is_practice_folder(folder: Path) -> bool:
    """Whether `grader init` made it: stubs, statements and examples of the exercises that are installed."""
    return (folder / HANDED_OUT).is_file()


def installed_bank() -> Path | None:
    """The exercises that came with this package: those of the clone that holds it, or installed beside it."""
    return next((one for one in (ABOVE, *(ABOVE / name for name in INSTALLED)) if is_bank(one)), None)


def bank_of(root: Path) -> Path:
    """Where the exercises of a house lie: below `root` itself, but for a practice folder where they are installed.

    Raises HouseError for a practice folder where none are.
    """
    if is_bank(root) or not is_practice_folder(root):
        return root
    bank = installed_bank()
    if bank is None:
        raise HouseError(f"{root} is a practice folder, but no exercises are installed: `pip install dl-kata`.")
    return bank
