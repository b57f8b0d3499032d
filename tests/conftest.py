"""What all tests share: how hard Hypothesis searches, and that programs run this source tree."""

import os
import signal
import sys
from pathlib import Path

# Before NumPy is loaded: small matrices on several threads cost time and change last digits.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest
from hypothesis import HealthCheck, settings

# How long a busy machine takes to draw an example is no property of the package.
any_speed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", any_speed, derandomize=True, max_examples=50)
settings.register_profile("thorough", any_speed, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A test that starts `python -m kltheory` in another folder runs the files beside these tests.
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])

# Started in the background, this process ignores Ctrl-C, and so would the programs that it starts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def _workers_are_measured():
    """Let idle workers end: a worker that is killed loses what coverage has measured in it."""
    yield
    worker = sys.modules.get("kltheory.symbolic.worker")
    if worker is not None and "COVERAGE_PROCESS_CONFIG" in os.environ:
        while worker._idle:
            idle = worker._idle.pop()
            idle.process.stdin.close()
            idle.process.wait(60)
            idle.stop()
