"""What attention is asked for, whichever backend answers."""

import dataclasses

import jax
import jax.numpy as jnp

# What a gradient may keep of attention goes by this name.
ATTENDED = "attended"


@dataclasses.dataclass(frozen=True)
class Seen:
  """Which keys each query sees, and what is added to the scores.

  Attributes:
    segments_BL: the document of each query.
    segments_BM: the document of each key.
    across: are the keys another row's than the queries'?
    causal: does a query see no key after it?
    prefix_BM: keys that it sees nevertheless, where not 0.
    window: how many keys around it a query sees, half to either side; 0 is all.
    slopes_H: what a score loses by each place of distance.
    bias_HLM: what is added to scores.
    ahead: how many keys stand before the first query.
  """

  segments_BL: jax.Array
  segments_BM: jax.Array
  across: bool = False
  causal: bool = False
  prefix_BM: jax.Array | None = None
  window: int = 0
  slopes_H: jax.Array | None = None
  bias_HLM: jax.Array | None = None
  ahead: int | jax.Array = 0

  @property
  def asks(self) -> set[str]:
    """By name, what is asked for beyond the document."""
    asked = {
      "across": self.across,
      "causal": self.causal,
      "prefix": self.prefix_BM is not None,
      "window": self.window > 0,
      "slopes": self.slopes_H is not None,
      "bias": self.bias_HLM is not None,
    }
    return {name for name, is_asked in asked.items() if is_asked}

  @property
  def after_LM(self) -> jax.Array:
    """How many places the query stands after the key."""
    index_L = self.ahead + jnp.arange(self.segments_BL.shape[1])
    return index_L[:, None] - jnp.arange(self.segments_BM.shape[1])

  @property
  def mask_BLM(self) -> jax.Array:
    """Does the query see the key?"""
    seen_BLM = self.segments_BL[:, :, None] == self.segments_BM[:, None, :]
    if self.causal:
      before_BLM = (self.after_LM >= 0)[None]
      if self.prefix_BM is not None:
        before_BLM |= self.prefix_BM[:, None, :] != 0
      seen_BLM &= before_BLM
    if self.window:
      seen_BLM &= jnp.abs(self.after_LM) <= self.window // 2
    return seen_BLM
