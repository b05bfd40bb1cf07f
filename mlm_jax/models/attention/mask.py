"""What a backend needs besides queries, keys and values."""

import dataclasses

import jax
import jax.numpy as jnp

# The checkpoint name of attention's output, for rematerialisation policies.
ATTENTION_OUTPUT = "attention_output"


@dataclasses.dataclass(frozen=True)
class AttentionMask:
  """Which keys each query attends to, and what is added to the scores.

  Attributes:
    segment_ids_BL: the document of each query; padding (0) attends to padding
      alone.
    key_segment_ids_BM: the document of each key, where the keys are those of
      another row (cross attention); None where they are the queries' own.
    causal: no query attends to a later key.
    prefix_BM: nonzero for keys that every query of the document attends to,
      later or not.
    window: how many keys around it a query attends to, half on either side; 0
      is all.
    slopes_H: what is subtracted from the scores for each position of distance
      (ALiBi).
    bias_HLM: what is added to the scores.
    query_offset: how many keys precede the first query.
  """

  segment_ids_BL: jax.Array
  key_segment_ids_BM: jax.Array | None = None
  causal: bool = False
  prefix_BM: jax.Array | None = None
  window: int = 0
  slopes_H: jax.Array | None = None
  bias_HLM: jax.Array | None = None
  query_offset: int | jax.Array = 0

  @property
  def features(self) -> set[str]:
    """The names of what is asked for beyond attention within documents."""
    requested = {
      "cross attention": self.key_segment_ids_BM is not None,
      "causal mask": self.causal,
      "prefix": self.prefix_BM is not None,
      "window": self.window > 0,
      "ALiBi slopes": self.slopes_H is not None,
      "additive bias": self.bias_HLM is not None,
    }
    return {name for name, is_requested in requested.items() if is_requested}

  @property
  def segment_ids_BM(self) -> jax.Array:
    """The document of each key."""
    if self.key_segment_ids_BM is None:
      return self.segment_ids_BL
    return self.key_segment_ids_BM

  @property
  def distance_LM(self) -> jax.Array:
    """The position of each query minus that of each key."""
    index_L = self.query_offset + jnp.arange(self.segment_ids_BL.shape[1])
    return index_L[:, None] - jnp.arange(self.segment_ids_BM.shape[1])

  @property
  def visible_BLM(self) -> jax.Array:
    """True where the query attends to the key."""
    visible_BLM = (
      self.segment_ids_BL[:, :, None] == self.segment_ids_BM[:, None, :]
    )
    if self.causal:
      allowed_BLM = (self.distance_LM >= 0)[None]
      if self.prefix_BM is not None:
        allowed_BLM |= self.prefix_BM[:, None, :] != 0
      visible_BLM &= allowed_BLM
    if self.window:
      visible_BLM &= jnp.abs(self.distance_LM) <= self.window // 2
    return visible_BLM
