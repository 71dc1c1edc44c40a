"""What the service answers, as its description (openapi.json) says it."""

from typing import Literal

from pydantic import BaseModel, Field


class Figure(BaseModel):
    """A metric on test patients; null where they cannot define it."""

    value: float | None
    ci: tuple[float, float] | None = Field(description="95% bootstrap interval over persons")
    overall: float | None = Field(description="the metric over all patients of the split")


class Measured(BaseModel):
    """How patients like this one were served, as remind evaluate measured it."""

    split: str
    band: str
    n: int
    auroc: Figure
    accuracy: Figure
    log_loss: Figure


class Prediction(BaseModel):
    """One patient's prediction, and what speaks against relying on it."""

    id: str | int
    probabilities: dict[str, float] = Field(description="by class; they sum to 1")
    verdict: Literal["sure", "unsure", "out_of_depth"]
    reasons: list[str] = Field(description="of the verdict, a sentence each; none if sure")
    prediction_set: list[str] | None = Field(
        description="classes that hold the true one in 90% of patients; null if the run could not "
        "be calibrated"
    )
    group: str = Field(description="the modalities observed, joined by +")
    n_train: int = Field(description="training patients with exactly these")
    band: Literal["head", "medium", "tail", "unseen"]
    measured: Measured | None


class Answer(BaseModel):
    """Predictions in the order of the patients."""

    predictions: list[Prediction]
    notes: list[str] = Field(description="what was passed over, a sentence each")


class Refusal(BaseModel):
    """Why there is no prediction."""

    error: str = Field(description="one sentence: what, where, what to do")
