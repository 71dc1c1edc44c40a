"""Why the tail fails: analyses of a run on its cohort, and of any torch model on its groups."""

from remind.analyses.concept_shift import ConceptShift, cluster, compare_pair, concept_shift
from remind.analyses.diagnose import PARTS, diagnose, diagnosis_lines
from remind.analyses.gradients import Consistency, gradient_consistency
from remind.analyses.options import Options
from remind.analyses.routing import Routes, routes

__all__ = [
    "PARTS",
    "ConceptShift",
    "Consistency",
    "Options",
    "Routes",
    "cluster",
    "compare_pair",
    "concept_shift",
    "diagnose",
    "diagnosis_lines",
    "gradient_consistency",
    "routes",
]
