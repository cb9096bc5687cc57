"""What a policy has to weigh: verdicts, deny lists, and licences carried along the graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mother.checkpoints.claims import Claim, Claims, repository
from mother.checkpoints.tensor import clean, printable
from mother.gate.licences import normalised, permits, restricts, terms
from mother.gate.policy import Policy
from mother.gate.report import Finding, ModelVerdict
from mother.gate.verdicts import Inputs, way
from mother.graph.descent import Ancestry, Descent, Line, Step
from mother.hub import shown

_STEPS = {"finetune", "merge", "adapter"}


@dataclass(frozen=True)
class Weighing:
    """All that findings are drawn from. hashes: sha256 of each input's files, by id, where the
    policy denies any."""

    inputs: Inputs
    descent: Descent
    policy: Policy
    hashes: Mapping[str, frozenset[str]]

    def findings(self, verdict: ModelVerdict) -> Iterator[Finding]:
        """All findings on one model, whatever their level."""
        yield from self._of_verdict(verdict)
        yield from self._of_metadata(verdict.id)
        yield from self._denied(verdict)
        yield from self._of_licences(verdict.id)

    def _finding(
        self,
        rule: str,
        id: str,
        message: str,
        about: str = "",
        line: Line = (),
        at: Claim | None = None,
    ) -> Finding:
        claims = self.inputs.claims.get(id, Claims())
        file = at.file if at else next(iter(claims.files), self.inputs.paths[id])
        row = at.line if at else None
        level = self.policy.levels[rule]
        message = f"{printable(id, 200)}: {message}"
        return Finding(rule, level, id, message, file, row, about, line)

    def _of_verdict(self, v: ModelVerdict) -> Iterator[Finding]:
        told = [j for j in v.claims if j.verdict == v.verdict]
        up = self.descent.ancestors(v.id)[v.parent] if v.parent else ()
        shown = f"; the weights show {way(up)}" if up else ""
        if v.verdict == "contradicted":
            for j in told:
                said, line = (j.reason, j.line) if j.line else (j.reason + shown, up)
                yield self._finding("contradicted", v.id, said, j.model or "", line, at=j.claim)
        elif v.verdict == "undeclared":
            yield self._finding("undeclared", v.id, v.reason, v.parent or "", up)
        elif v.verdict == "unknown" and told and v.parent and not _named(v):
            yield self._finding("unnamed-parent", v.id, v.reason, v.parent, up, at=told[0].claim)
        elif v.verdict == "unknown" and told:
            j = told[0]
            yield self._finding("unknown", v.id, j.reason, j.claim.value, j.line, at=j.claim)
        for j in v.claims:
            tuned = [c for c in self.inputs.claims[v.id].relations if c.value in _STEPS]
            if j.model in self.descent.copies(v.id) and tuned:
                said = f"claims to be a {tuned[0].value} of {printable(j.claim.value, 200)}"
                yield self._finding(
                    "copy",
                    v.id,
                    f"{said}, and holds its very weights",
                    j.model or "",
                    j.line,
                    at=tuned[0],
                )

    def _of_metadata(self, id: str) -> Iterator[Finding]:
        for problem in self.inputs.claims.get(id, Claims()).faults:
            at = Claim("", "", problem.path)
            said = f"{printable(problem.path.name, 200)}: {problem.fault}"
            yield self._finding("metadata", id, said, clean(problem.path.name), at=at)

    def _denied(self, v: ModelVerdict) -> Iterator[Finding]:
        for entry in self.policy.deny:
            for j in v.claims:
                if _same_name(entry, j.claim.value):
                    said = f"claims {printable(entry, 200)}, which is denied"
                    yield self._finding("denied", v.id, said, entry, at=j.claim)
            denied = self._meant(entry)
            if v.id in denied:
                said = f"is denied, as {printable(entry, 200)}"
                yield self._finding("denied", v.id, said, entry)
                continue
            for doubt, ancestry in self._ancestries(v.id):
                line = next((ancestry[a] for a in ancestry if a in denied), ())
                if line:
                    how = "may come" if doubt else "comes"
                    said = f"{how} from {printable(entry, 200)}, which is denied: {way(line)}"
                    yield self._finding(doubt or "denied", v.id, said, entry, line)
                    break

    def _meant(self, entry: str) -> frozenset[str]:
        if entry.startswith("sha256:"):
            digest = entry.removeprefix("sha256:")
            return frozenset(id_ for id_, held in self.hashes.items() if digest in held)
        found = self.inputs.names.match(entry)
        return frozenset(found.ids if found else ())

    def _ancestries(self, id: str) -> Iterator[tuple[str, Ancestry]]:
        """The ancestors that are sure, then with the rule "possible" those that are not."""
        sure = self.descent.ancestors(id)
        yield "", sure
        possible = self.descent.ancestors(id, possible=True)
        if len(possible) > len(sure):
            yield "possible", possible

    def _of_licences(self, id: str) -> Iterator[Finding]:
        own = self.inputs.licences.get(id, ())
        sure = self.descent.ancestors(id)
        said: set[str] = set()
        for doubt, ancestry in self._ancestries(id):
            for other in ancestry:
                if other not in self.inputs.licences or (doubt and other in sure):
                    continue
                if own:
                    yield from self._between(id, other, doubt, ancestry, said)
                elif not doubt and not said and self._restricts(other):
                    said.add("unlicensed")
                    its = self.inputs.licences[other][0]
                    yield self._licence_finding("unlicensed", id, ancestry[other], "", its)

    def _between(
        self, id: str, other: str, doubt: str, ancestry: Ancestry, said: set[str]
    ) -> Iterator[Finding]:
        """Findings on a model's licences below those of one ancestor, of rules not yet `said`."""
        for mine in self.inputs.licences[id]:
            for its in self.inputs.licences[other]:
                allowed = self._permits(its, mine)
                if allowed or (allowed is False and said & _BREACHES):
                    continue
                line = ancestry[other]
                if all(step.kind == "copy" for step in line) and self._claims(other, id):
                    continue
                # a coarser number type is another format, not a derived work
                if its == mine and all(_keeps(step) for step in line):
                    continue
                rule = "unknown-licence" if allowed is None else doubt or self._breach(line, mine)
                if rule not in said:
                    # the nearest ancestor that forbids is the one to tell
                    said.add(rule)
                    yield self._licence_finding(rule, id, line, mine, its)

    def _permits(self, ancestor: str, child: str) -> bool | None:
        pair = ancestor, child
        if pair not in self._known:
            self._known[pair] = permits(ancestor, child, self.policy.licences)
        return self._known[pair]

    def _restricts(self, id: str) -> bool:
        return restricts(self.inputs.licences[id], self.policy.licences)

    @cached_property
    def _known(self) -> dict[tuple[str, str], bool | None]:
        return {}

    def _breach(self, line: Line, mine: str) -> str:
        """ "laundered" where something on the way, or a copy of the ancestor, states a licence
        that would let `mine` pass, or states none; "licence" where it is the parent's own."""
        beside = [step.child for step in line[1:]]
        if not all(step.kind == "copy" for step in line):
            beside += [c for c in self.descent.copies(line[-1].parent) if c != line[-1].parent]
        theirs = [self.inputs.licences.get(id_, ()) for id_ in beside]
        passes = [all(self._permits(t, mine) is not False for t in some) for some in theirs]
        return "laundered" if any(passes) else "licence"

    def _licence_finding(self, rule: str, id: str, line: Line, mine: str, its: str) -> Finding:
        table, other = self.policy.licences, line[-1].parent
        where = f"{printable(other, 200)} is under {printable(its, 100)}"
        if rule == "unknown-licence":
            missing = next(x for x in (its, mine) if terms(x, table) is None)
            end = f"{printable(missing, 100)} is not in the policy's table of licences"
        elif rule == "unlicensed":
            end = "it states no licence of its own"
        else:
            end = f"which forbids {printable(mine, 100)}"
            end += " if it comes from there" if rule == "possible" else ""
        said = self.inputs.claims[id].licences
        at = next((claim for claim in said if normalised(claim.value) == mine), None)
        return self._finding(rule, id, f"{where}, {end}: {way(line)}", other, line, at=at)

    def _claims(self, id: str, other: str) -> bool:
        """Whether `id` names `other` as its parent."""
        claims = self.inputs.claims.get(id, Claims()).parents
        meant = (self.inputs.names.means(id, claim) for claim in claims)
        return any(found is not None and other in found[0] for found in meant)


_BREACHES = {"licence", "laundered", "possible"}


def _keeps(step: Step) -> bool:
    """Whether a step makes no derived work of the model."""
    return step.kind == "copy" or (step.edge is not None and step.edge.relation == "converted")


def _named(v: ModelVerdict) -> bool:
    """Whether a claim that stands leads to an ancestor after all."""
    return any(j.verdict == "confirmed" or j.model == v.parent for j in v.claims)


def _same_name(entry: str, claimed: str) -> bool:
    name = repository(claimed).casefold()
    wanted = repository(entry).casefold()
    return wanted in (name, name.rsplit("/", 1)[-1])


def weighed(findings: Iterator[Finding], policy: Policy) -> Iterator[Finding]:
    """The findings that are not off, each with the reason why the policy accepts it, if so."""
    reasons = {(a.model, a.rule): a.reason for a in policy.accepted}
    for finding in findings:
        if finding.level != "off":
            yield replace(finding, accepted=reasons.get((finding.model, finding.rule)))


def unreadable(path: Path, fault: str, policy: Policy, rule: str = "unreadable") -> Finding:
    """The finding on an input whose weights can't be read, or are not (rule "unread")."""
    name = printable(shown(path), 300)
    return Finding(rule, policy.levels[rule], name, f"{name}: {fault}", path)
