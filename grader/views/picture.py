"""Pictures for the page, the notebook, the report and the terminal: one vocabulary, drawn in two ways."""

from typing import Any

from grader.verdicts.picture import Picture
from grader.views.charts import draw
from grader.views.differ import where_it_differs
from grader.views.svg import Canvas, stylesheet
from grader.views.textual import text_lines
from grader.views.words import Table, alt, table

__all__ = ["NotebookPicture", "Table", "alt", "stylesheet", "svg", "table", "text_lines", "where_it_differs"]


def svg(picture: Picture, *, alone: bool = False) -> str:
    """A picture as SVG, for a page that has the `stylesheet`. alone: as a file or in a notebook, with its style in it.

    Its name and description for screen readers are its title and `alt`. Strangers' text in it is text only.
    """
    canvas = Canvas()
    draw(picture, canvas)
    return canvas.svg(picture.title, alt(picture), alone)


class NotebookPicture:
    """A picture that a notebook shows as SVG, and a console as text."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def __repr__(self) -> str:
        return "\n".join(text_lines(self.picture))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What IPython asks for."""
        return {"image/svg+xml": svg(self.picture, alone=True), "text/plain": repr(self)}
