"""What is replaced in WeasyPrint for speed changes no byte of any page."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_pages_are_the_same_as_without_what_is_replaced() -> None:
    # In a process of its own, whose WeasyPrint nobody has touched.
    words = [sys.executable, "-m", "tests.rendering.same"]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
