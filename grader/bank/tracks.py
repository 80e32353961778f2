"""In which order the exercises are studied, and what each builds on. It is advice: nothing is locked."""

from grader.bank.catalog import Exercise, House, Track
from grader.base.errors import HouseError
from grader.base.text import nearest


def find_track(house: House, id: str) -> Track:
    """Raises HouseError for a track that there is not."""
    known = {track.id: track for track in house.coverage.track}
    if id not in known:
        said = f"the tracks are {', '.join(known)}" if known else "this collection has none"
        raise HouseError(f"There is no track '{id}': {said}.{nearest(id, known)}")
    return known[id]


def along(house: House, track: Track) -> list[Exercise]:
    """The exercises of a track that are here, after those of the track before it."""
    before = along(house, find_track(house, track.after)) if track.after else []
    return before + [house.exercises[id] for id in track.exercises if id in house.exercises]


def study_order(house: House) -> list[Exercise]:
    """All exercises: along the tracks, one track after the other, then those that are on none."""
    on = [exercise for track in house.coverage.track for exercise in along(house, track)]
    return list({exercise.id: exercise for exercise in (*on, *house.exercises.values())}.values())


def needs(house: House, exercise: Exercise) -> list[Exercise]:
    """What an exercise builds on, of what is here."""
    task = house.task(exercise)
    return [house.exercises[id] for id in (task.needs if task else ()) if id in house.exercises]
