"""How a drill is laid out as text."""

from grader.drills.shown import Shown
from grader.views.drill import question_lines


def test_a_number_and_its_sign_stay_in_one_line():
    asked = "An image of 152 × 112 pixels in patches of 8 × 8, 2 B a number, shrinks by 5 % and by 30 / 2 again."
    one = Shown("q", 1, "vision.patches", "dl_018", "number", asked, "to 1 %")
    for columns in range(30, 90):
        lines = list(question_lines(one, 1, 1, columns))[1:]
        assert max(map(len, lines)) <= columns
        for whole in ("152 × 112", "8 × 8", "2 B", "5 %", "30 / 2", "1 %)"):
            assert any(whole in line for line in lines), (columns, whole)
