"""Serving: physics (lowering, cost) and time (SimPy) joined. `pack.pack` prices a replica, `run.simulate` serves,
`metrics.metrics` sums up, `answer.answer` says it in figures. Nothing is imported here: `fit` needs no Numba."""
