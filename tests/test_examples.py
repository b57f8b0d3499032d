"""The worked examples: what is promised holds, and the page says what the script prints."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("skimage", reason="the examples need scikit-image")

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
SCRIPT, PAGE = EXAMPLES / "recover.py", EXAMPLES / "recover.md"


@pytest.fixture(scope="module")
def recover():
    spec = importlib.util.spec_from_file_location("recover", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["recover"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["recover"]


@pytest.mark.parametrize("name", ["deblurring", "tomography", "compressed_sensing"])
def test_the_example_keeps_its_promise(recover, name):
    """At the stopping time the errors are below their bounds, and the sentence names them."""
    story = getattr(recover, name)()
    assert 0 < story.happened <= story.promised
    assert 0 < story.observation_happened <= story.observation_promised
    assert story.sentence in PAGE.read_text(encoding="utf-8").replace("\n", " ")
    assert f"Stop at t = {story.stop:.4g}" in story.sentence
    assert f"at most {story.promised:.3g}" in story.sentence
