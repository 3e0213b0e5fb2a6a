"""Where tests that need pictures can run.

Mesa's software renderer crashes beside TensorFlow, which other test files load into the
same process. So these tests are skipped there, and one test of each file runs the file
again in a process of its own.
"""

import subprocess
import sys

import pytest

from env.rendering import RenderingError, choose_renderer

ELSEWHERE = "TensorFlow is loaded here; runs in the process of run_in_its_own_process"


def need_renderer():
    """Skips the test, naming the Debian packages, unless pictures can be made here."""
    if "tensorflow" in sys.modules:
        pytest.skip(ELSEWHERE)
    need_working_renderer()


def need_working_renderer():
    """Skips the test unless pictures can be made in some process."""
    try:
        choose_renderer()
    except RenderingError as error:
        pytest.skip(str(error))


def run_in_its_own_process(file):
    """Runs the tests of a file that were skipped here because of TensorFlow."""
    need_working_renderer()
    if "tensorflow" not in sys.modules:
        pytest.skip("nothing to do: the tests of this file could run here")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert ELSEWHERE not in result.stdout
