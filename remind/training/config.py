"""TrainConfig: how a model is trained."""

from dataclasses import dataclass

from remind.objectives.checks import check_choice, check_number, check_whole

SCHEDULES = ("constant", "cosine", "step")
SELECTIONS = ("bands", "mean")
PRECISIONS = ("32", "bf16-mixed")
DEVICES = ("auto", "cpu", "cuda")
STRATEGIES = ("ddp", "fsdp")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of training.

    Raises:
        InputError: an option is out of its range.
    """

    epochs: int = 60
    """Most passes over the training patients, >= 1."""

    batch_size: int = 256
    """Patients per step, of all ranks together, >= 1; the last batch of an epoch may be smaller."""

    batch_tokens: int = 0
    """Most tokens per step, of all ranks together, >= 0; with 0 `batch_size` holds instead. A
    patient has a token per observed modality, or as many as its encoder makes."""

    lr: float = 2e-3
    """Learning rate of AdamW after the warm-up, > 0."""

    weight_decay: float = 3e-4
    """Decoupled weight decay of parameters with two axes or more, >= 0."""

    schedule: str = "constant"
    """After the warm-up: "constant", "cosine" (to zero at the last step) or "step" (a tenth every
    `step_epochs`)."""

    step_epochs: int = 5
    """Epochs between two steps of the schedule "step", >= 1."""

    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly, >= 0."""

    clip: float = 1.0
    """Largest norm of the gradient, >= 0; 0 does not clip."""

    ema: float = 0.0
    """Decay of the exponential moving average of the weights that is validated, selected and kept,
    in [0, 1); 0 keeps the weights themselves."""

    patience: int = 8
    """Epochs without improvement before training stops, >= 0; 0 never stops early."""

    selection: str = "bands"
    """What validation minimizes: "bands" (`selection.criterion`) or "mean" (log loss)."""

    band_weight: float = 0.2
    """Share of the bands in the selection "bands", in [0, 1]."""

    modality_dropout: float = 0.0
    """Mean share of observed modalities hidden from a training patient, in [0, 0.5]."""

    pretrain: int = 0
    """Epochs before the first in which the model learns without labels to tell what hidden
    modalities hold (`remind/training/pretrain.py`), >= 0."""

    teacher: float = 0.0
    """Share of the target that boosted trees which have not seen the patient give instead of its
    label, in [0, 1); it falls to 0 as the model gets ahead of them in validation."""

    precision: str = "32"
    """Of training: "32" or "bf16-mixed"; validation and prediction always use 32 bits."""

    device: str = "auto"
    """"auto" (CUDA where there is one), "cpu" or "cuda"."""

    strategy: str = "ddp"
    """With several ranks: "ddp" (each holds the model) or "fsdp" (each holds a part of it)."""

    workers: int = 0
    """Processes per rank that make batches ahead, >= 0; 0 makes each when it is needed."""

    def __post_init__(self) -> None:
        check_whole("epochs", self.epochs, at_least=1)
        check_whole("batch_size", self.batch_size, at_least=1)
        check_whole("batch_tokens", self.batch_tokens, at_least=0)
        check_number("lr", self.lr, above=0, finite=True)
        check_number("weight_decay", self.weight_decay, at_least=0, finite=True)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_whole("step_epochs", self.step_epochs, at_least=1)
        check_whole("warmup_steps", self.warmup_steps, at_least=0)
        check_number("clip", self.clip, at_least=0, finite=True)
        check_number("ema", self.ema, at_least=0, at_most=0.999999)
        check_whole("patience", self.patience, at_least=0)
        check_choice("selection", self.selection, SELECTIONS)
        check_number("band_weight", self.band_weight, at_least=0, at_most=1)
        check_number("modality_dropout", self.modality_dropout, at_least=0, at_most=0.5)
        check_whole("pretrain", self.pretrain, at_least=0)
        check_number("teacher", self.teacher, at_least=0, at_most=0.999)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("device", self.device, DEVICES)
        check_choice("strategy", self.strategy, STRATEGIES)
        check_whole("workers", self.workers, at_least=0)
