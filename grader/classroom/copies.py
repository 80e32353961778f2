"""Names and files of strangers beside a notebook, as formgrader shows and serves them.

nbgrader copies every file of a submission, and formgrader serves the copies from the address where the scores are. It
puts the name of a student's folder into its pages as it stands.
"""

import mimetypes
import os
import re
from pathlib import Path

_ACTIVE = re.compile(r"html|[/+]xml|javascript|^message/|^multipart/")
"""Types of a page that may hold a script. A file of no known type is kept by a browser, and not shown."""
_CONFIGURATION = "nbgrader_config.py"
"""formgrader runs one in any folder that an address names."""


def is_markup(student: str) -> bool:
    """Whether the name of a student's folder would be more than text in a page of formgrader, or is no text at all."""
    return bool(re.search(r'[<>"\\\x00-\x1f\u2028\u2029\ud800-\udfff]', student))


def defuse(folder: Path, master: Path) -> list[str]:
    """Give every file that a browser or nbgrader might run the ending `.txt`, and return their names.

    folder: the copy of a submission; master: the teacher's own files, which stay.
    """
    renamed = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if path.suffix == ".ipynb" or (master / path.relative_to(folder)).exists():
                continue
            if _ACTIVE.search(mimetypes.guess_type(name)[0] or "") or name == _CONFIGURATION:
                path.replace(path.with_name(f"{name}.txt"))
                renamed.append(str(path.relative_to(folder)))
    return renamed
