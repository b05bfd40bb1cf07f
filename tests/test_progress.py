"""What is seen of long work in a log."""

import pytest

from mlm_jax.progress import Progress


def test_a_line_tells_what_is_done_and_the_time_left(capsys):
  with Progress(10, done=2, unit="megabyte") as progress:
    progress.show(6, loss=1.5)
  line = capsys.readouterr().out
  assert line == "megabyte 6/10  loss 1.500  0:00:00 left\n"


@pytest.mark.parametrize("step", [2, 10])
def test_at_the_ends_no_time_is_told(capsys, step):
  with Progress(10, done=2) as progress:
    progress.show(step)
  assert capsys.readouterr().out == f"step {step}/10\n"
