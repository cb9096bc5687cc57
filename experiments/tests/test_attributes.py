"""The study of attributes goes on where it was cut short."""

import pytest
from experiments.attributes import trial, worlds


def test_rows_that_there_are_are_not_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = worlds.simulated(200, 0)
    once = [*trial.trials({"true": world}, 0.5, False, 0, ["true"], ["true"], ["license"])]
    known = {trial.key(row): row for row in once}
    assert len(known) == len(once) == len(trial.METHODS) + 1

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(trial, "guessed", never)
    again = trial.trials({"true": world}, 0.5, False, 0, ["true"], ["true"], ["license"], known)
    assert [*again] == once
