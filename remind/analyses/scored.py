"""Rows with their losses by a run and its references, in the presence they are looked at."""

# N rows, M modalities, C classes, F scores, L losses

from dataclasses import dataclass

import numpy as np

from remind.analyses.masked import observed_in, probabilities
from remind.analyses.reference import FLOOR, Reference
from remind.cohort import Cohort
from remind.evaluation.metrics import decision, log_loss_of_rows

LOSSES = ("log_loss", "error")


@dataclass(frozen=True)
class Scored:
    """Rows and how well they are predicted.

    Args:
        person_N: whose row it is, 0..P-1.
        pattern_N: which of the rare combinations it is looked at in, -1 none.
        own_NL: log loss and error of the run.
        reference_NL: of the reference for common or for rare patients, as these rows are.
        score_NF: log odds by run and reference for common patients, and the number of modalities.
    """

    person_N: np.ndarray
    pattern_N: np.ndarray
    own_NL: np.ndarray
    reference_NL: np.ndarray
    score_NF: np.ndarray

    def select(self, some: np.ndarray) -> "Scored":
        """Some of the rows."""
        return Scored(
            self.person_N[some],
            self.pattern_N[some],
            self.own_NL[some],
            self.reference_NL[some],
            self.score_NF[some],
        )


@dataclass(frozen=True)
class Scorer:
    """Predicts rows in a given presence and keeps what the split of a gap needs of it.

    Args:
        reference: holds the run's predictor.
        cohort: labelled.
        person_of_row: 0..P-1 of every row that is scored.
    """

    reference: Reference
    cohort: Cohort
    person_of_row: np.ndarray

    def common(self, rows: np.ndarray, present_NM: np.ndarray, pattern_N: np.ndarray) -> Scored:
        """Common patients, in any presence."""
        own_NC, trees_NC = self._predict(rows, present_NM)
        other_NC = self.reference.common(own_NC, trees_NC)
        return self._scored(rows, present_NM, pattern_N, own_NC, trees_NC, other_NC)

    def rare(self, rows: np.ndarray, pattern_N: np.ndarray) -> Scored:
        """Rare patients, as observed."""
        present_NM = self.cohort.present_NM[rows]
        own_NC, trees_NC = self._predict(rows, present_NM)
        label_N, person_N = self._labels(rows), self.cohort.person[rows]
        other_NC = self.reference.rare(own_NC, trees_NC, label_N, person_N)
        return self._scored(rows, present_NM, pattern_N, own_NC, trees_NC, other_NC)

    def _predict(self, rows: np.ndarray, present_NM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        some = observed_in(self.cohort, rows, present_NM)
        return probabilities(self.reference.own, some), probabilities(self.reference.trees, some)

    def _labels(self, rows: np.ndarray) -> np.ndarray:
        assert self.cohort.label_N is not None
        return self.cohort.label_N[rows]

    def _scored(
        self,
        rows: np.ndarray,
        present_NM: np.ndarray,
        pattern_N: np.ndarray,
        own_NC: np.ndarray,
        trees_NC: np.ndarray,
        other_NC: np.ndarray,
    ) -> Scored:
        label_N = self._labels(rows)
        odds = [_log_odds(own_NC), _log_odds(self.reference.common(own_NC, trees_NC))]
        return Scored(
            person_N=self.person_of_row[rows],
            pattern_N=pattern_N,
            own_NL=_losses(label_N, own_NC),
            reference_NL=_losses(label_N, other_NC),
            score_NF=np.column_stack([*odds, present_NM.sum(axis=1)]),
        )


def _losses(label_N: np.ndarray, prob_NC: np.ndarray) -> np.ndarray:
    return np.column_stack([log_loss_of_rows(label_N, prob_NC), decision(prob_NC) != label_N])


def _log_odds(prob_NC: np.ndarray) -> np.ndarray:
    log_NC = np.log(np.clip(prob_NC, FLOOR, 1.0))
    return log_NC[:, 1:] - log_NC[:, :1]
