"""What held-out loss a recipe should reach: runs that were recorded.

bench/reference_runs.py trains them and writes configs/references.json.
"""

import functools
import json

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.phases import Recipe

# Another seed, Python's documentation of another version, another CPU.
_TOLERANCE = 0.2
# The scopes of keys that change what is learned.
_SCOPES = (
  "weights",
  "initialisation",
  "state",
  "function",
  "data",
  "optimizer",
  "schedule",
)
# The same rows, wherever they are, and other random numbers.
_NO_MATTER = {
  "data.rows_dir",
  "seed",
  "weights_seed",
  "order_seed",
  "mask_seed",
  "dropout_seed",
}


@functools.cache
def _runs() -> dict[str, list[tuple[int, float]]]:
  """Returns (tokens seen, held-out loss) of each evaluation, by recipe."""
  return json.loads(recipes.file("references.json").read_text())


def describe(recipe: Recipe) -> str:
  """Returns a line on the losses to expect; "" where no run is recorded."""
  if len(recipe.phases) > 1 or recipe.base.data.corpus != "tfds:python_docs":
    return ""
  for name, points in _runs().items():
    changed = config_lib.changed(recipes.load(name).base, recipe.base, _SCOPES)
    if changed.keys() <= _NO_MATTER:
      places = {len(points) // 4, len(points) // 2, len(points) - 1}
      expected = ", ".join(
        _range(*points[place]) for place in sorted(places) if points[place][0]
      )
      return f"Expected held-out loss: {expected}"
  return ""


def _range(tokens: int, loss: float) -> str:
  low, high = loss - _TOLERANCE, loss + _TOLERANCE
  return f"{low:.1f} to {high:.1f} at {tokens / 1e6:.1f}M tokens"
