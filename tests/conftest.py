"""What all tests share: how hard Hypothesis searches, and that programs run this source tree."""

import os
from pathlib import Path

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A test that starts `python -m kltheory` in another folder runs the files beside these tests.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
