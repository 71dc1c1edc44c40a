"""The learning rate as a pure function of the step: nothing to save, nothing to resume."""

import math

from remind.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from 0.

    Linear warm-up: (step + 1) / warmup_steps of `lr`. After it
    constant  lr
    cosine    lr (1 + cos(pi t)) / 2, t the share of the steps after the warm-up that are done
    step      lr 0.1^(epoch div step_epochs)
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        num_steps = config.epochs * steps_per_epoch - config.warmup_steps
        return config.lr * (1 + math.cos(math.pi * (step - config.warmup_steps) / num_steps)) / 2
    if config.schedule == "step":
        return config.lr * 0.1 ** (step // steps_per_epoch // config.step_epochs)
    return config.lr
