"""What models claim of their parents and licences, against what their weights say.

Claims come from whoever made the files; a policy says which disagreements are forbidden.
"""

from mother.gate.inspection import check
from mother.gate.policy import RULES, Policy
from mother.gate.report import Finding, ModelVerdict, Report

__all__ = ["RULES", "Finding", "ModelVerdict", "Policy", "Report", "check"]
