"""One subscriber's trouble is nobody else's."""

from __future__ import annotations

from opssight_migrate.model.events import Event, Noted, RevisionApplied
from opssight_migrate.render.fanout import Fanout


class Broken:
    """Fails at every event."""

    def __init__(self) -> None:
        self.calls = 0

    def emit(self, event: Event) -> None:
        self.calls += 1
        raise OSError("No space left on device")


def test_a_broken_subscriber_is_dropped_and_noted_once_to_the_others() -> None:
    heard: list[Event] = []
    broken = Broken()
    fanout = Fanout([broken.emit, heard.append])

    fanout.emit(RevisionApplied(revision="1"))
    fanout.emit(RevisionApplied(revision="2"))

    assert broken.calls == 1
    notes = [event for event in heard if isinstance(event, Noted)]
    assert [event.revision for event in heard if isinstance(event, RevisionApplied)] == ["1", "2"]
    assert [note.severity for note in notes] == ["warning"]
    assert "Broken" in notes[0].message
    assert "No space left on device" in notes[0].message


def test_nobody_left_to_hear_of_it_is_no_error() -> None:
    one, other = Broken(), Broken()
    fanout = Fanout([one.emit, other.emit])

    fanout.emit(RevisionApplied(revision="1"))

    heard: list[Event] = []
    late = Fanout([one.emit, heard.append])
    late.emit(RevisionApplied(revision="2"))
    assert [type(event) for event in heard] == [RevisionApplied, Noted]


def test_an_event_told_in_the_middle_of_another_waits_its_turn() -> None:
    heard: list[tuple[str, str]] = []

    def first(event: Event) -> None:
        assert isinstance(event, RevisionApplied)
        heard.append(("first", event.revision))
        if event.revision == "1":
            fanout.emit(RevisionApplied(revision="2"))  # as a signal handler would

    def second(event: Event) -> None:
        assert isinstance(event, RevisionApplied)
        heard.append(("second", event.revision))

    fanout = Fanout([first, second])
    fanout.emit(RevisionApplied(revision="1"))

    assert heard == [("first", "1"), ("second", "1"), ("first", "2"), ("second", "2")]
