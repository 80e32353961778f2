"""The orders of study: of the collection, and of a house that has some of its exercises alone."""

import json

import pytest

from grader.bank.catalog import find_house
from grader.bank.tracks import along, find_track, needs, study_order

HOUSE = find_house()
TRACKS = HOUSE.coverage.track


def test_each_exercise_is_on_a_track_and_each_name_means_one():
    named = {id for track in TRACKS for id in track.exercises}
    assert named == set(HOUSE.exercises)
    assert {id for task in HOUSE.coverage.task for id in task.needs} <= named
    assert len(study_order(HOUSE)) == len(HOUSE.exercises)


@pytest.mark.parametrize("track", TRACKS, ids=lambda track: track.id)
def test_what_an_exercise_builds_on_never_comes_after_it(track):
    order = [exercise.id for exercise in along(HOUSE, track)]
    assert len(set(order)) == len(order)
    for place, exercise in enumerate(along(HOUSE, track)):
        later = [one.id for one in needs(HOUSE, exercise) if one.id in order[place:]]
        assert not later, exercise.id


def test_a_track_begins_with_the_one_before_it():
    core, ml = (along(HOUSE, find_track(HOUSE, id)) for id in ("core", "ml"))
    assert ml[: len(core)] == core
    assert len(ml) > len(core)


def test_a_house_without_tracks_has_an_order_all_the_same(home):
    assert [one.id for one in study_order(home.house)] == ["dl_901_running_mean"]


def test_the_order_is_printed_with_hours_and_what_comes_before(cli, home):
    with (home.root / "exercises" / "coverage.toml").open("a") as file:
        file.write('\n[[track]]\nid = "all"\ntitle = "All"\nexercises = ["dl_901_running_mean", "dl_902_to_come"]\n')
    minutes = home.exercise.minutes
    done = cli("list", "--track", "all")
    assert f"All: 1 exercise, about {minutes / 60:.0f} hours" in done.out
    assert "dl_901_running_mean" in done.out
    assert "dl_902" not in done.out
    (listed,) = json.loads(cli("list", "--track", "all", "--json").out)
    assert (listed["id"], listed["needs"]) == ("dl_901_running_mean", [])


def test_a_track_that_there_is_not_is_a_sentence_with_those_that_there_are(home):
    done = home.grader("list", "--track", "lml")
    assert done.code == 2
    assert "There is no track 'lml'" in done.said
