"""Drills as a deck: what a card shows, and that Anki takes a newer deck for the same one."""

import importlib.util
import sqlite3
import zipfile

import pytest
from click.testing import CliRunner

from grader.bank.catalog import find_house
from grader.base.errors import HouseError
from grader.cli.main import main
from grader.drills import Bug, Number, Order, question
from grader.drills.load import all_questions
from grader.views.anki import VARIANTS, note, write_deck

needs_genanki = pytest.mark.skipif(not importlib.util.find_spec("genanki"), reason="genanki writes the decks")


def made(make, topic="kv.memory", revision=1):
    one = question(topic=topic, level=2, source="Nobody 2026, 1 & 2", revision=revision)(make)
    one.exercise = "dl_901"
    return one


def cache(revision=1, why="Keys & values <both>."):
    def bytes_a_token(draw):
        L = draw.between(10, 99)
        return Number(
            ask=f"{L} layers where x < y. Cache?", given={"L": L}, answer=4 * L, unit="B", why=why,
            traps={"keys [only]": 2 * L, "<b>bits</b>": 32 * L}, hints=("Count.", "4 · L"),
        )  # fmt: skip

    return made(bytes_a_token, revision=revision)


def line(draw):
    code = 'x = "[sound:a.mp3]"\n    print(x < 1)'
    return Bug(
        ask="Which?", code=code, answer="    print(x < 1)", mended="    print(x)", prints="",
        traps={"the text": 'x = "[sound:a.mp3]"'}, hints=("a", "b"), why="So.",
    )  # fmt: skip


def order(draw):
    return Order(ask="?", answer=["a", "b<"], traps={"reversed": ["b<", "a"]}, hints=("a", "b"), why="So.")


def rows(path, query, tmp_path):
    with zipfile.ZipFile(path) as archive:
        archive.extract("collection.anki2", tmp_path)
    db = sqlite3.connect(tmp_path / "collection.anki2")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def test_a_note_has_three_variants_whose_text_is_no_markup():
    one = note(cache())
    assert one.id == "dl_901.bytes_a_token"
    assert one.tags == ("topic::kv::memory", "exercise::dl_901", "level::2")
    assert len({front for front, _ in one.cards}) == VARIANTS
    assert one == note(cache())  # the same ones each time
    front, back = one.cards[0]
    L = int(front.partition("<p>")[2].partition(" ")[0])
    assert f'<p>{L} layers where x &lt; y. Cache? <span class="note">(exact, in B)</span></p>' in front
    assert f'<div class="answer">{4 * L} B</div><div>= 4 · {L}</div><p>Keys &amp; values &lt;both&gt;.</p>' in back
    assert f"<li>keys &#91;only]: {2 * L} B</li>" in back
    assert "&lt;b&gt;bits&lt;/b&gt;" in back
    assert "Nobody 2026, 1 &amp; 2" in back


def test_code_stands_in_pre_with_numbers_where_a_line_is_asked_for():
    ((front, back),) = note(made(line)).cards  # the same question at each draw: one card
    assert "<pre> 1  x = &quot;&#91;sound:a.mp3]&quot;\n 2      print(x &lt; 1)</pre>" in front
    assert "line 2, print(x)" in back
    assert "<li>the text: line 1</li>" in back


def test_an_order_is_told_by_numbers_and_names():
    ((front, back),) = note(made(order)).cards
    assert "<ol><li>b&lt;</li><li>a</li></ol>" in front
    assert "2 1: a; b&lt;" in back
    assert "<li>reversed: 1 2: b&lt;; a</li>" in back


def test_every_drill_of_the_house_has_cards():
    notes = [note(one) for one in all_questions(find_house()).values()]
    assert all(one.cards for one in notes)
    assert sum(len(one.cards) == VARIANTS for one in notes) > 0.9 * len(notes)


@needs_genanki
def test_the_file_holds_a_note_a_question_known_by_its_question(tmp_path):
    first, second = tmp_path / "first.apkg", tmp_path / "second.apkg"
    assert write_deck(first, [note(cache()), note(made(line))]) == 4
    assert write_deck(second, [note(cache(revision=2, why="Changed."))]) == 3
    ids = dict(rows(first, "select sfld, guid from notes", tmp_path))
    assert ids.keys() == {"dl_901.bytes_a_token", "dl_901.line"}
    ((guid, model, tags, fields),) = rows(second, "select guid, mid, tags, flds from notes", tmp_path)
    assert guid == ids["dl_901.bytes_a_token"]
    assert rows(first, "select distinct mid from notes", tmp_path) == [(model,)]
    assert tags.split() == ["topic::kv::memory", "exercise::dl_901", "level::2"]
    assert "Changed." in fields


@needs_genanki
@pytest.mark.skipif(not importlib.util.find_spec("anki"), reason="Anki's own reader is not installed: pip install anki")
def test_anki_itself_updates_what_is_there(tmp_path, monkeypatch):
    from anki.collection import Collection, ImportAnkiPackageRequest

    collection = Collection(str(tmp_path / "collection.anki2"))

    def imported(why, at):
        monkeypatch.setattr("time.time", lambda: at)  # Anki takes the newer of two, by the second
        write_deck(tmp_path / "deck.apkg", [note(cache(why=why)), note(made(line))])
        monkeypatch.undo()
        collection.import_anki_package(ImportAnkiPackageRequest(package_path=str(tmp_path / "deck.apkg")))

    try:
        imported("First.", 1.7e9)
        before = {id: collection.get_note(id)["Answer 1"] for id in collection.find_notes("")}
        imported("Second.", 1.7e9 + 60)
        assert collection.note_count() == 2
        assert collection.card_count() == 4
        (id,) = collection.find_notes("tag:topic::kv::memory Drill:dl_901.bytes_a_token")
        after = collection.get_note(id)["Answer 1"]
        assert "First." in before[id]
        assert "Second." in after
        assert [collection.decks.name(card.did) for card in collection.get_note(id).cards()] == ["dl-kata drills"] * 3
        shown = [card.render_output().question_and_style() for card in collection.get_note(id).cards()]
        assert all("layers where x &lt; y" in text for text in shown)
        assert len(set(shown)) == VARIANTS
    finally:
        collection.close()


def drill(*args):
    return CliRunner().invoke(main, ["drill", *args])


@needs_genanki
def test_the_command_writes_all_or_what_is_narrowed_to(tmp_path):
    path = tmp_path / "deck.apkg"
    for words, those in (((), lambda one: True), (("--topic", "kv.memory"), lambda one: one.topic == "kv.memory")):
        done = drill("--anki", str(path), *words)
        assert done.exit_code == 0, done.output
        wanted = {one.id for one in all_questions(find_house()).values() if those(one)}
        assert {id for (id,) in rows(path, "select sfld from notes", tmp_path)} == wanted
        assert done.output.startswith(f"{len(wanted)} drills on ")
    assert "There is no topic 'kv.memori'." in str(drill("--anki", str(path), "--topic", "kv.memori").output)


def test_a_missing_package_is_named_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HouseError, match="pip install genanki"):
        write_deck(tmp_path / "deck.apkg", [])
    done = drill("--anki", str(tmp_path / "deck.apkg"))
    assert done.exit_code == 2
    assert "pip install genanki first." in done.output
    assert not list(tmp_path.iterdir())


@needs_genanki
def test_a_place_that_cannot_be_written_is_named(tmp_path):
    done = drill("--anki", str(tmp_path / "no" / "deck.apkg"), "--topic", "kv.memory")
    assert done.exit_code == 2
    assert "cannot be written: No such file or directory." in done.output
