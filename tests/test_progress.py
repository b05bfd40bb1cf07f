"""What is seen of long work in a log."""

import pytest

from mlm_jax.progress import Progress


def test_progress_line_shows_the_time_left(capsys, monkeypatch):
  times = iter([100.0, 108.0])
  monkeypatch.setattr("mlm_jax.progress.time.monotonic", lambda: next(times))
  with Progress(10, unit="mile") as progress:
    progress.advance(2)  # Whatever came before took its own time.
    progress.show(6, loss=1.5)
  line = capsys.readouterr().out
  assert line == "mile 6/10  loss 1.500  0:00:08 left\n"


@pytest.mark.parametrize("step", [2, 10])
def test_progress_line_at_the_ends_shows_no_time_left(capsys, step):
  with Progress(10) as progress:
    progress.advance(2)
    progress.show(step)
  assert capsys.readouterr().out == f"step {step}/10\n"


def test_progress_excludes_the_time_before_the_first_step(capsys, monkeypatch):
  times = iter([100.0, 108.0])
  monkeypatch.setattr("mlm_jax.progress.time.monotonic", lambda: next(times))
  with Progress(10) as progress:
    progress.show(0, heldout=3.0)  # Then the step is compiled.
    progress.advance(1)
    progress.show(5)
  *_, last = capsys.readouterr().out.splitlines()
  assert last == "step 5/10  0:00:10 left"
