"""The paper's experiments from raw files to a table beside the published figures.

What an experiment is, a TOML file says (`config`; the paper's are in remind/configs/paper). Every
part that is done is kept in the output folder, and used again by the next call.
"""

from remind.reproduce.config import CONFIGS, Experiment, load_experiment
from remind.reproduce.run import reproduce
from remind.reproduce.table import reproduction_table

__all__ = ["CONFIGS", "Experiment", "load_experiment", "reproduce", "reproduction_table"]
