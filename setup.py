"""What pyproject.toml cannot say: the exercises go into the wheel, as `dl_kata` beside the package `grader`.

So the folders of a clone stay where they are. The source distribution holds the same files, and makes the same wheel.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BANK = "dl_kata"
ALONE = ("exercises/coverage.toml", "conftest.py", "constraints.txt", "pyproject.toml", "README.md")


def bank_files(root: Path) -> list[str]:
    """The files of the exercises, and what judging them reads. Learners' files are not among them."""
    folders = sorted(path.parent for path in root.glob("exercises/*/exercise.toml"))
    found = [name for name in ALONE if (root / name).is_file()]
    for given in folders:
        stem = given.name.split("_", 2)[2]
        wanted = [*given.iterdir(), *(root / "tests" / given.name).glob("*.py")]
        wanted = [path for path in wanted if path.suffix in (".py", ".toml", ".md", ".svg") and path.stem != stem]
        found += [path.relative_to(root).as_posix() for path in sorted(wanted)]
        found.append(f"solutions/{given.name}/{stem}.py")
    return found


class BuildWithBank(build_py):
    """As ever, and then the exercises."""

    def run(self) -> None:
        super().run()
        shutil.rmtree(Path(self.build_lib, BANK), ignore_errors=True)  # of an older build
        if not self.editable_mode:
            for name in bank_files(Path()):
                target = Path(self.build_lib, BANK, name)
                self.mkpath(str(target.parent))
                self.copy_file(name, str(target))

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *bank_files(Path())]


setup(cmdclass={"build_py": BuildWithBank})
