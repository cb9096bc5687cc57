"""Models that are kin under other names and other labels at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mother.checkpoints import Checkpoint
from mother.evidence.relabelled import relabelling, tensors_of
from mother.layouts import Group, align
from mother.layouts.spectra import Renaming, Shapes, by_spectra, shapes_of

TRIED = 16  # pairs of groups at most


def kin_by_spectra(own: Checkpoint, like: Checkpoint, tried: int = 1) -> Renaming | None:
    """The names that a model has in another one, if under these the test of relabelling says that
    they are kin. tried: pairs that are looked at."""
    renaming = by_spectra(own, like)
    if renaming is None:
        return None
    groups = align([like, renaming.seen(own)])
    test = relabelling(*tensors_of(groups[0])) if len(groups) == 1 else None
    return renaming if test is not None and test.is_kin(tried) else None


def under_known_names(groups: Sequence[Group]) -> dict[int, Checkpoint]:
    """Of groups that neither names nor content join, by `id` the models that are kin of others,
    under the names of these; of a group all that are stored alike go with the first."""
    alike: dict[Shapes, list[list[Checkpoint]]] = defaultdict(list)
    for group in sorted(groups, key=lambda group: -len(group.checkpoints)):
        if shapes := shapes_of(group.checkpoints[0]):
            alike[shapes].append(list(group.checkpoints))
    pairs = [
        (some[k], some[i]) for some in alike.values() for k in range(len(some)) for i in range(k)
    ]
    seen: dict[int, Checkpoint] = {}
    for models, others in pairs[:TRIED]:
        if id(models[0]) in seen or id(others[0]) in seen:
            continue
        renaming = kin_by_spectra(models[0], others[0], len(pairs))
        if renaming is not None:
            stored = [c for c in models if c.tensors.keys() == models[0].tensors.keys()]
            seen |= {id(c): renaming.seen(c) for c in stored}
    return seen
