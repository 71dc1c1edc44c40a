"""Which method serves this cohort best? Contenders under one budget, paired, with intervals.

`splits` deals patients into folds, `contenders` says who takes part with which settings, `tuning`
proposes trials, `fitting` is the pure function of a trial or a fit, `executors` run it on this
machine or on a Ray cluster, `folder` keeps what is done, `run` does what is left, `statistics`,
`ranks` and `report` judge it, `pooled` judges several folders together.
"""
