import pathlib
import subprocess
import sys

import pytest

LAUNCH = pathlib.Path(__file__).parents[2] / "launch"
SCRIPTS = sorted([*LAUNCH.rglob("*.sh"), *LAUNCH.rglob("*.sbatch")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script):
  shellcheck = pathlib.Path(sys.executable).with_name("shellcheck")
  done = subprocess.run(
    [shellcheck, "--color=never", script], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stdout + done.stderr
