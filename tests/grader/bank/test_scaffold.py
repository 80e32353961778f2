import pytest

from grader.bank.scaffold import scaffold
from grader.base.errors import HouseError

ID = "dl_020_beam_search"


@pytest.mark.parametrize("id", ["beam_search", "dl_20_x", "dl_020_Beam", "dl_020_", "../dl_020_x", "dl_020_x/y", ""])
def test_a_bad_id_is_refused_and_nothing_is_written(home, id):
    before = sorted(home.root.rglob("*"))
    with pytest.raises(HouseError, match="cannot name an exercise"):
        scaffold(home.house, id)
    assert sorted(home.root.rglob("*")) == before


@pytest.mark.parametrize("there", [f"tests/{ID}/mutants.toml", f"exercises/{ID}/exercise.toml"])
def test_nothing_is_overwritten(home, there):
    path = home.root / there
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(HouseError, match=f"{there} is there already; nothing was written"):
        scaffold(home.house, ID)
    assert path.read_text() == "mine"
    assert not (home.root / "solutions" / ID).exists()


def test_a_new_exercise_can_be_built_run_and_audited_at_once(home, cli):
    assert cli("dev", "new", ID).code == 0
    assert cli("dev", "build").code == 0
    assert "1 not started" in home.pytest(f"exercises/{ID}").out
    assert home.pytest(f"solutions/{ID}").code == 0
    done = home.grader("dev", "audit", "20")
    assert done.code == 1
    for said in (
        "exercises/coverage.toml has no [[task]] for dl_020_beam_search: add one",
        "part 'first_part' covers no topic",
        f"exercises/{ID}/README.md:1 still says TODO",
        f"exercises/{ID}/exercise.toml:1 still says TODO",
        f"exercises/{ID}/questions.toml:2 still says TODO",
        f"solutions/{ID}/beam_search.py:1 still says TODO",
        f"tests/{ID}/test_beam_search.py:8 still says TODO",
        f"tests/{ID}/mutants.toml:2 still says TODO",
        "mutants.toml has 1 wrong answers; give at least 8",
        "mutants.toml has 1 right answers written differently; give 2",
        "generated mutants killed (100.0%)",
    ):
        assert said in done.out


def test_a_new_exercise_leaves_the_others_alone(home, cli):
    cli("dev", "new", ID)
    cli("dev", "build")
    home.solve()
    assert home.grader("check", "901").code == 0
    assert (
        home.grader("dev", "audit", "901", "--mutants", "none").out.count("✗") == 1
    )  # the attempt is no longer the stub
