"""`tunewright.fine_tuning` under the name that users' documents import."""

from tunewright.fine_tuning import *  # noqa: F403
from tunewright.fine_tuning import __all__ as __all__
