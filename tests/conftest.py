"""Properties are searched without a deadline: how long an example takes says nothing on a busy machine."""

from hypothesis import settings

settings.register_profile("gambrel", deadline=None)
settings.load_profile("gambrel")
