"""Imported once where answering processes are born: what is loaded and compiled here is at hand in each of them.

With a fork server a new process is a copy of this warm one, ready within milliseconds, so one that runs away can be ended.
"""

from __future__ import annotations

import signal


def warm() -> None:
    """Answer one question of each kind; what cannot be answered here is told to who asks it later."""
    import logging

    from ... import api
    from ...catalog.library import Library
    from ...catalog.scenarios import Group, Scenario, TokenBudget, Traffic
    from ...errors import GambrelError
    from . import answers  # noqa: F401 - loaded here, so that no answering process loads it again

    on = {"model": "llama-3.1-8b", "cluster": "h100"}
    traffic = Traffic(rate_requests_per_s=4.0, requests=16, input_tokens=256, output_tokens=16)
    library = Library()
    for verb, scenario in (
        (api.train, Scenario(groups=(Group(role="train", devices=8, **on),), demand=TokenBudget(tokens=1e9))),
        (api.serve, Scenario(groups=(Group(role="serve", **on),), demand=traffic)),
    ):
        try:
            verb(scenario, library)
        except GambrelError as error:  # a catalogue of the user's own may lack the model
            logging.getLogger("gambrel.page").info("not warm: %s", error)


signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; the server ends what is born here
warm()
