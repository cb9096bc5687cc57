"""Ancestral states of a category: who among many models holds which of some values.

A value stays along a link, or is drawn anew from `target` with the chance 1 - exp(-rate * length),
the rate of that kind of relation (F81; Felsenstein 1981). Founders draw from `root`; that the two
differ is drift. Messages go up and down the pedigree (Felsenstein's pruning). They are exact where
nobody has several parents, and repeated where merges take after one of theirs, unknown which.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np
from scipy.special import gammaln

from mother.attributes.pedigree import Array, Indices, Pedigree

MOST = 16  # values of one family that are told apart; rarer ones are one
ROUNDS = 3  # of messages where there are merges
STEPS, FEW = 25, 4  # of expectation and maximization, at most; where rates are nearly known
HALVINGS = 24  # of where a rate may be
SETTLED = 0.02  # change of a rate, as a share of it, below which steps end
SURE = 1e-6  # no link changes a value with less than this, nor with more than one less this
#: how many links a guess counts for, that rates of all kinds are alike and most values stay
PRIOR, STAYING = 4.0, 0.8
WEIGHTS = np.geomspace(
    0.5, 1e4, 18
)  # of a guess at shares, in cells, of which the likeliest counts
EVENNESS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4)  # votes of families that are added, even ones
TAKEN = (0.0, 0.25, 0.5, 0.75, 0.95)  # votes that are taken from each value that is seen
NOTHING = 1e-3  # votes that are none
PRIVATE = 2.0  # cells that what all state counts for against what a family does
_NEVER = -40.0  # log of the chance that a stated value is another


@dataclass(frozen=True)
class Rates:
    """rate: (kinds,) changes a length; power: of lengths, 0 where they do not matter. target, root:
    (characters, values), what is drawn on a change and by founders; what a row lacks to 1 is drawn
    from values that nobody states."""

    rate: Array
    power: float
    target: Array
    root: Array

    def staying(self, pedigree: Pedigree) -> Array:
        """(links,) the chance that a value stays."""
        stay = np.exp(-self.rate[pedigree.kind] * pedigree.length**self.power)
        return np.clip(stay, SURE, 1 - SURE)


@dataclass(frozen=True)
class States:
    """Which values are told apart in each family: states (families, K), numbers of values. A value
    beyond the last stands for all that no other state of the family stands for, values that nobody
    states among them. character: (families,) which of several characters it is that a family
    shows."""

    states: Indices
    values: int
    character: Indices

    @staticmethod
    def of(
        pedigree: Pedigree, codes: Indices, values: int, character: Indices, *, closed: bool
    ) -> States:
        """codes: (rows,) the stated value of each row, or -1. closed: there are no other values."""
        if closed or values <= MOST:
            every = np.arange(values if closed else values + 1)
            return States(np.tile(every, (pedigree.families, 1)), values, character)
        known = np.flatnonzero(codes >= 0)
        pairs = pedigree.family[known] * values + codes[known]
        pairs, many = np.unique(pairs, return_counts=True)
        family, code = np.divmod(pairs, values)
        order = np.lexsort((code, -many, family))
        family, code = family[order], code[order]
        rank = np.arange(len(family)) - np.searchsorted(family, family)
        kept = rank < MOST - 1
        wide = int(rank[kept].max(initial=-1)) + 2
        states = np.full((pedigree.families, wide), -1, dtype=np.intp)
        states[:, -1] = values
        states[family[kept], rank[kept]] = code[kept]
        return States(states, values, character)

    def shares(self, of: Array) -> Array:
        """(families, K) of (characters, values) shares, the last state's those of all others."""
        wider = np.pad(of, ((0, 0), (0, 2)))  # of all others, and of no state (-1)
        found = wider[self.character[:, None], self.states]
        rest = np.clip(1 - found.sum(1, keepdims=True), 1e-9, 1)
        return np.clip(np.where(self.states == self.values, rest, found), 1e-12, 1)

    def habits(self, pedigree: Pedigree, codes: Indices, every: Array) -> Array:
        """(families, K) what each family states, drawn towards what all do, every: likewise, as by
        `PRIVATE` cells. codes: as above."""
        known = np.flatnonzero(codes >= 0)
        family = pedigree.family[known]
        at = family * every.shape[1] + self.places(family, codes[known])
        votes = np.bincount(at, minlength=every.size).reshape(every.shape)
        return np.asarray((votes + PRIVATE * every) / (votes.sum(1, keepdims=True) + PRIVATE))

    def places(self, family: Indices, codes: Indices) -> Indices:
        """(n,) which of its family's states stands for each of n codes; -1 for none."""
        own = self.states[family]
        fits = np.where(own == codes[:, None], 2, own == self.values)
        return np.where(codes >= 0, fits.argmax(1), -1)

    def likeliest(self, pedigree: Pedigree, beliefs: Array, share: Array) -> tuple[Indices, Array]:
        """(rows,) the most probable value of each row and its probability, of beliefs (rows, K).
        What no state of a family stands for is as likely among itself as by share, (values,)."""
        order = np.argsort(-share, kind="stable")[: self.states.shape[1] + 1]
        absent = ~(self.states[:, :, None] == order).any(1)
        first = order[absent.argmax(1)]
        rest = self.shares(share[None])[:, -1]
        of_first = np.where(absent.any(1), share[first] / rest, 0)
        is_rest = self.states[:, -1] == self.values
        single = beliefs.copy()
        single[:, -1] *= np.where(is_rest, of_first, 1)[pedigree.family]
        top = single.argmax(1)
        best = self.states[pedigree.family, top]
        best = np.where(best == self.values, first[pedigree.family], best)
        return best, single[np.arange(len(top)), top]

    def evidence(self, pedigree: Pedigree, codes: Indices) -> Array:
        """(rows, K) log-likelihoods of what is stated: 0 where nothing is."""
        log = np.zeros((pedigree.rows, self.states.shape[1]))
        known = np.flatnonzero(codes >= 0)
        own = self.states[pedigree.family[known]]
        fits = own == codes[known, None]
        fits |= ~fits.any(1, keepdims=True) & (own == self.values)
        log[known] = np.where(fits, 0, _NEVER)
        return log


@dataclass(frozen=True)
class Beliefs:
    """outside: (rows, K), probabilities of each state from all but the row's own evidence. kept,
    changed: (links,) expected numbers of values that stayed and that were drawn anew. drawn:
    (families, K) what they were; founded: (families, K) what founders hold. above: (links, K) of
    each link's parent from all but the link's child; empty where nobody has several parents."""

    outside: Array
    kept: Array
    changed: Array
    drawn: Array
    founded: Array
    above: Array


def beliefs(
    pedigree: Pedigree,
    evidence: Array,
    stay: Array,
    target: Array,
    root: Array,
    before: Beliefs | None = None,
) -> Beliefs:
    """Messages up and down. evidence: (rows, K) log-likelihoods; stay: (links,); target, root:
    (families, K). before: what was found under rates much like these; one round leads on."""
    if before is not None:
        above = before.above
    else:
        above = root[pedigree.family[pedigree.parent]] if len(pedigree.merged) else np.empty((0, 0))
    for _ in range(ROUNDS if len(pedigree.merged) and before is None else 1):
        below, sent = _up(pedigree, evidence, stay, target, above)
        found = _down(pedigree, evidence, below, sent, stay, target, root)
        above = found.above
    return found


def _up(
    pedigree: Pedigree, evidence: Array, stay: Array, target: Array, above: Array
) -> tuple[Array, Array]:
    """(rows, K) log-likelihoods of all below and at each row, and (links, K) of what each sent."""
    below = evidence.copy()
    sent = np.empty((len(pedigree.child), evidence.shape[1]))
    for level in reversed(pedigree.levels):
        parent, child = pedigree.parent[level], pedigree.child[level]
        likely = _exp(below[child])
        drawn = _dot(target[pedigree.family[child]], likely)
        s, w = stay[level], pedigree.weight[level]
        message = (w * s)[:, None] * likely + (w * (1 - s) * drawn)[:, None]
        if (w < 1).any():
            one = w * (s * _dot(above[level], likely) + (1 - s) * drawn)
            message += (np.bincount(child, one)[child] - one)[:, None]
        sent[level] = np.log(message)
        starts = np.flatnonzero(np.diff(parent, prepend=-1))
        below[parent[starts]] += np.add.reduceat(sent[level], starts)
    return below, sent


def _down(
    pedigree: Pedigree,
    evidence: Array,
    below: Array,
    sent: Array,
    stay: Array,
    target: Array,
    root: Array,
) -> Beliefs:
    from_above = np.log(root)[pedigree.family]
    rest = np.zeros_like(sent) if len(pedigree.merged) else np.empty((0, 0))
    kept, changed = np.zeros(len(stay)), np.zeros(len(stay))
    new_values = np.empty_like(sent)
    for level in pedigree.levels:
        parent, child = pedigree.parent[level], pedigree.child[level]
        family = pedigree.family[child]
        parents = _exp(from_above[parent] + below[parent] - sent[level])
        parents = _normal(parents)
        s, w, t = stay[level], pedigree.weight[level], target[family]
        handed = (w * s)[:, None] * parents + (w * (1 - s))[:, None] * t
        likely = _exp(below[child])
        new = w * (1 - s) * _dot(t, likely)
        old = w * s * _dot(parents, likely)
        whole: Array = old + new
        if (w < 1).any():
            rest[level] = parents
            whole = np.asarray(np.bincount(child, whole)[child])
            one = np.zeros((int(child.max()) + 1, target.shape[1]))
            np.add.at(one, child, handed)
            handed = one[child]
        from_above[child] = np.log(handed)
        kept[level], changed[level] = old / whole, new / whole
        new_values[level] = (w * (1 - s) / whole)[:, None] * t * likely
    outside = _normal(_exp(from_above + below - evidence))
    at = pedigree.roots
    held = _normal(_exp(from_above[at] + below[at]))
    drawn = _summed(new_values, pedigree.family[pedigree.child], len(target))
    founded = _summed(held, pedigree.family[at], len(target))
    return Beliefs(outside, kept, changed, drawn, founded, rest)


def _summed(values: Array, group: Indices, groups: int) -> Array:
    """(groups, K) sums of (n, K) values by group."""
    wide = values.shape[1]
    at = group[:, None] * wide + np.arange(wide)
    found = np.bincount(at.ravel(), values.ravel(), groups * wide)
    return np.asarray(found.reshape(groups, wide))


def _exp(log: Array) -> Array:
    """exp of each row, up to a factor."""
    top = reduce(np.maximum, log.T)  # rows are short: .max(1) takes three times as long
    return np.asarray(np.exp(log - top[:, None]))


def _dot(a: Array, b: Array) -> Array:
    """Of each row of a with that of b."""
    return np.asarray(np.einsum("nk,nk->n", a, b))


def _normal(a: Array) -> Array:
    """Each row as a share of its sum."""
    return np.asarray(a / np.einsum("nk->n", a)[:, None])


def fitted(
    pedigree: Pedigree,
    codes: Indices,
    values: int,
    power: float,
    character: Indices,
    *,
    closed: bool,
    near: Rates | None = None,
) -> Rates:
    """Rates by maximum likelihood (expectation and maximization; Dempster, Laird and Rubin 1977),
    drawn towards a common rate as by `PRIOR` links, and towards the values' shares.

    codes: (rows,) the number of the value that each row states, from 0, or -1. character:
    (families,) what it is a value of; all characters change at the same rates. closed: there are no
    values but those. near: rates of much the same rows, from which a few steps lead there.
    """
    states = States.of(pedigree, codes, values, character, closed=closed)
    share = shares(states, pedigree, codes, closed=closed)
    rate = np.full(len(pedigree.kinds), -np.log(STAYING)) if near is None else near.rate
    rates = Rates(rate, power, share, share)
    evidence = states.evidence(pedigree, codes)
    found = None
    for _ in range(STEPS if near is None else FEW):
        target, root = states.shares(rates.target), states.shares(rates.root)
        found = beliefs(pedigree, evidence, rates.staying(pedigree), target, root, found)
        before, rate = rates.rate, _rates(pedigree, found.kept, found.changed, power)
        rates = Rates(
            rate,
            power,
            _drawn(states, found.drawn, rates.target, share),
            _drawn(states, found.founded, rates.root, share),
        )
        if (np.abs(rate - before) <= SETTLED * before).all():
            break
    return rates


def shares(states: States, pedigree: Pedigree, codes: Indices, *, closed: bool) -> Array:
    """(characters, values) of the votes of families, by the process of two parameters (Pitman and
    Yor 1997): what is taken from each value that is seen is the share of values that nobody states,
    unless they are `closed`, and some even votes are added. How much of both is the mean of what is
    possible, weighed by how well each family is foretold from the others. A family's vote is the
    square root of its size: between one for all of it and one for each model."""
    told = np.flatnonzero(codes >= 0)
    pairs = pedigree.family[told] * states.values + codes[told]
    pairs, own = np.unique(pairs, return_counts=True)
    family, code = np.divmod(pairs, states.values)
    at = (states.character[family], code)
    size = np.bincount(family, own, pedigree.families)[family]
    vote = own / np.sqrt(size)
    votes = np.zeros((int(states.character.max(initial=0)) + 1, states.values))
    np.add.at(votes, at, vote)
    seen = np.full(votes.shape, closed) | (votes > 0)
    voters, kinds = votes.sum(1, keepdims=True), seen.sum(1, keepdims=True)
    rest, voting = votes[at] - vote, voters[at[0], 0] - np.sqrt(size)  # of the other families
    again = np.full(len(rest), closed) | (rest > NOTHING)
    fewer = np.bincount(family, ~again, pedigree.families)[family]
    found, likely = [], []
    for taken, even in product((0.0,) if closed else TAKEN, EVENNESS):
        less = np.minimum(votes, taken)
        found.append((votes - less + even * seen / np.maximum(kinds, 1)) / (voters + even))
        left = np.minimum(rest, taken)
        gone = np.bincount(family, less[at] - left, pedigree.families)[family]
        known = rest - left + even / np.maximum(kinds[at[0], 0] - fewer, 1)
        chance = np.where(again, known, np.maximum(less.sum(1)[at[0]] - gone, NOTHING))
        likely.append(float((own / size) @ np.log(chance / (voting + even))))
    weight = np.exp(np.array(likely) - max(likely))
    return np.asarray(np.tensordot(weight / weight.sum(), np.array(found), 1))


def drawn_towards(centre: Array, counts: Array) -> Array:
    """(characters, values) shares of which counts were drawn, (characters, values), if they vary
    around the centre, as much as makes the counts likeliest (Dirichlet and multinomial).

    >>> drawn_towards(np.full((1, 2), 0.5), np.array([[51.0, 49.0]])).round(3)
    array([[0.5, 0.5]])
    >>> drawn_towards(np.full((1, 2), 0.5), np.array([[99.0, 1.0]])).round(2)
    array([[0.99, 0.01]])
    """
    some = counts > 0
    m, n, whole = centre[some], counts[some], counts.sum(1)

    def likelihood(weight: float) -> float:
        each = gammaln(weight * m + n) - gammaln(weight * m)
        rows = gammaln(weight) - gammaln(weight + whole)
        return float(each.sum() + rows.sum())

    best = max(WEIGHTS.tolist(), key=likelihood)
    return np.asarray((counts + best * centre) / (whole + best)[:, None])


def _rates(pedigree: Pedigree, kept: Array, changed: Array, power: float) -> Array:
    """(kinds,) the rates under which so many values stay, kept, and change."""
    length, kind, kinds = pedigree.length**power, pedigree.kind, len(pedigree.kinds)
    if not power:  # all links of a kind are alike
        kept, changed = (np.bincount(kind, x, kinds).astype(np.float64) for x in (kept, changed))
        length, kind = np.ones(kinds), np.arange(kinds)
    whole, every = np.zeros(len(kind), dtype=np.intp), np.array([PRIOR])
    common = _likeliest(length, kept, changed, whole, every * STAYING, every * (1 - STAYING))
    stay = np.exp(-np.repeat(common, kinds))
    return _likeliest(length, kept, changed, kind, PRIOR * stay, PRIOR * (1 - stay))


def _likeliest(
    length: Array, kept: Array, changed: Array, kind: Indices, stay: Array, change: Array
) -> Array:
    """Where the likelihood's slope, sum of length * (changed / (exp(rate * length) - 1) - kept), is
    0: by halving, on a logarithmic scale. stay, change: (kinds,) what is counted beforehand, of
    length 1."""
    low, high = np.full(len(stay), -15.0), np.full(len(stay), 4.0)
    for _ in range(HALVINGS):
        rate = np.exp((low + high) / 2)
        slope = length * (changed / np.expm1(rate[kind] * length) - kept)
        rises = np.bincount(kind, slope, len(stay)) + change / np.expm1(rate) - stay > 0
        low, high = np.where(rises, (low + high) / 2, low), np.where(rises, high, (low + high) / 2)
    return np.asarray(np.exp((low + high) / 2))


def _drawn(states: States, found: Array, before: Array, share: Array) -> Array:
    """(characters, values) what is drawn, of (families, K) how often it was. What families tell
    apart no further is spread as before."""
    wide = states.values + 1
    own = states.states >= 0
    place = (states.character[:, None] * wide + states.states)[own]
    counts = np.bincount(place, found[own], len(share) * wide).reshape(-1, wide)
    seen = share.sum(1, keepdims=True)  # the rest are values that nobody states
    whole = counts[:, :-1] + counts[:, -1:] * before
    return np.asarray(drawn_towards(share / seen, whole) * seen)
