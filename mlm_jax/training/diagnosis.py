"""Why steps were skipped: what is said of a run before it ends."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax

from mlm_jax.training import step as step_lib
from mlm_jax.training.run import Run
from mlm_jax.training.state import TrainState

# Each is evaluated by itself.
_MOST_ROWS = 512
_NUM_SHOWN = 3
_TEXT_WIDTH = 60


def diagnose(
  run: Run,
  state: TrainState,
  batch: dict[str, np.ndarray],
  rows: Sequence[int],
  decode: Callable[[Sequence[int]], str],
) -> list[str]:
  """Returns lines on a batch whose step was skipped.

  They name the modules with the largest gradients and the rows with the largest
  losses; what is not finite counts as largest.

  Args:
    run: the compiled functions of the phase.
    state: before the step.
    batch: all rows of the step, on every process.
    rows: the position of each in the stream.
    decode: ids -> text.
  """
  start, stop = run.local_rows(len(rows))
  local = {name: array[start:stop] for name, array in batch.items()}
  norms = _gradient_norms(run, state, local)
  shown = ", ".join(f"{k} {v:.3g}" for k, v in _largest(norms))
  lines = [f"largest gradient norms: {shown}"]
  losses = _row_losses(run, state.params, batch, stop - start)
  for index, loss in _largest(losses):
    text = decode(batch["input_ids"][index].tolist())
    if len(text) > _TEXT_WIDTH:
      text = f"{text[:_TEXT_WIDTH]}..."
    lines.append(f"row {rows[index]:,}, loss {loss:.3g}: {text!r}")
  return lines


def _largest(values: dict) -> list[tuple]:
  rank = lambda item: item[1] if np.isfinite(item[1]) else np.inf
  return sorted(values.items(), key=rank, reverse=True)[:_NUM_SHOWN]


def _gradient_norms(run: Run, state: TrainState, batch) -> dict[str, float]:
  """Returns the gradient norm of each module, by its path of two names."""

  def norms(state, batch):
    grads, _ = step_lib.gradient(
      state, batch, config=run.config, objective=run.objective
    )
    modules = {}
    for path, grad in jax.tree.leaves_with_path(grads):
      names = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
      modules.setdefault("/".join(names[:2]), []).append(grad)
    return {name: optax.global_norm(part) for name, part in modules.items()}

  found = run.on_mesh(jax.jit(norms))(state, run.to_device(batch))
  return {name: float(norm) for name, norm in found.items()}


def _row_losses(run: Run, params, batch, num_local: int) -> dict[int, float]:
  """Returns the loss of each row by itself, without dropout."""
  losses = {}
  for index in range(min(len(batch["input_ids"]), _MOST_ROWS)):
    # The step that is compiled already, of a batch of this row alone.
    repeated = {
      k: np.repeat(v[index : index + 1], num_local, 0) for k, v in batch.items()
    }
    sums = run.eval_step(params, run.to_device(repeated))
    losses[index] = float(run.objective.ratios(sums)["loss"])
  return losses
