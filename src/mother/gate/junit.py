"""A report as JUnit's XML, which GitLab, Jenkins and others show beside the results of tests.

No standard defines it. What GitLab reads: https://docs.gitlab.com/ci/testing/unit_test_reports/,
what others write: https://github.com/testmoapp/junitxml.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from mother.gate.policy import RULES
from mother.gate.report import Finding, Report, counts, plain
from mother.names import printable, spelled

_SUITE = "mother check"


def to_junit(report: Report) -> str:
    """One test for each model, and for each input that could not be looked at: it fails by what
    the policy forbids, with an error where the weights can't be read. What is let pass is in the
    test's output. Nothing depends on when it was written: times are left out.

    >>> print(to_junit(Report((), ())).splitlines()[1])
    <testsuites name="mother check" tests="0" failures="0" errors="0">
    """
    models = {m.id: m for m in report.models}
    of: dict[str, list[Finding]] = {id_: [] for id_ in models}
    for finding in report.findings:
        of.setdefault(finding.model or plain(finding.file), []).append(finding)
    cases = []
    for name, findings in of.items():
        known = models.get(name)
        where = plain(known.path) if known else plain(findings[0].file)
        case = ElementTree.Element(
            "testcase", classname=_SUITE, name=spelled(name), file=spelled(where)
        )
        unread = [f for f in findings if counts(f) and f.rule == "unreadable"]
        forbidden = [f for f in findings if counts(f) and f.rule != "unreadable"]
        for kind, some in (("failure", forbidden), ("error", unread)):
            if some:
                _told(case, kind, some)
        said = [f"{known.verdict}: {known.reason}", *known.notes] if known else []
        said += [_line(f) for f in findings if not counts(f)]
        if said:
            ElementTree.SubElement(case, "system-out").text = "\n".join(map(printable, said))
        cases.append(case)
    failures, errors = (sum(c.find(k) is not None for c in cases) for k in ("failure", "error"))
    counted = {"tests": str(len(cases)), "failures": str(failures), "errors": str(errors)}
    root = ElementTree.Element("testsuites", {"name": _SUITE, **counted})
    suite = ElementTree.SubElement(root, "testsuite", {"name": _SUITE, **counted})
    if report.read is not None:
        share, size = report.read
        told = {"name": "read", "value": f"{share:.3g} of {size} bytes"}
        ElementTree.SubElement(ElementTree.SubElement(suite, "properties"), "property", told)
    suite.extend(cases)
    ElementTree.indent(root, " ")
    # ASCII, with references for what is beyond it: right in every encoding
    text = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=False).decode()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _told(case: ElementTree.Element, kind: str, findings: Sequence[Finding]) -> None:
    first = findings[0]
    element = ElementTree.SubElement(
        case, kind, message=printable(first.message), type=f"{RULES[first.rule].id} {first.rule}"
    )
    element.text = "\n".join(printable(_line(f)) for f in findings)


def _line(finding: Finding) -> str:
    where = plain(finding.file) + (f":{finding.row}" if finding.row is not None else "")
    accepted = f" (accepted: {finding.accepted})" if finding.accepted is not None else ""
    rule = f"{RULES[finding.rule].id} {finding.rule}"
    return f"{where}: {finding.level} {rule}: {finding.message}{accepted}"
