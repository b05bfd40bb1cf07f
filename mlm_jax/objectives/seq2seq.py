"""Sequence-to-sequence denoising: a decoder generates what is missing, or all.

The corruption says what the encoder reads and the decoder generates: the
objective is that of T5 (Raffel et al. 2020), BART (Lewis et al. 2020) and MASS
(Song et al. 2019).
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import Config
from mlm_jax.models import flops
from mlm_jax.models.composite import EncoderDecoder
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives.base import Batch, LossSums, Objective, Term
from mlm_jax.objectives.cross_entropy import cross_entropy


class SequenceToSequence(Objective):
  """Predicts the decoder's next token, from left to right."""

  title = "sequence-to-sequence denoising"
  tasks = ("generate",)
  has_decoder = True
  token_term = "seq2seq"
  supports = ("export_hf",)

  @functools.cached_property
  def model(self) -> nn.Module:
    return EncoderDecoder(self.config.model, self.vocab.size)

  @property
  def terms(self) -> Mapping[str, Term]:
    return {"seq2seq": Term(1.0, "decoder tokens")}

  @classmethod
  def fields(cls, config: Config) -> tuple[str, ...]:
    return ("input_ids", "decoder_ids", "target_ids", "target_weights")

  def denominators(self, batch: Batch) -> dict[str, jax.Array]:
    return {"seq2seq": jnp.sum(batch["target_weights"])}

  def loss_sums(
    self, params, batch: Batch, key: jax.Array | None = None
  ) -> LossSums:
    logits = self.predict(params, batch, key)
    targets = batch["target_ids"], batch["target_weights"]
    return {"seq2seq": cross_entropy(logits, *targets)}

  def predict(self, params, batch: Batch, key: jax.Array | None):
    """Returns what the model returns of a batch; the key is dropout's."""
    ids_BL, decoder_ids_BP = batch["input_ids"], batch["decoder_ids"]
    segments_BL, positions_BL = segments_and_positions(ids_BL, self.vocab)
    decoder_segments_BP, decoder_positions_BP = segments_and_positions(
      decoder_ids_BP, self.vocab
    )
    # Other kinds of positions are relative.
    is_learned = self.config.model.position_kind == "learned"
    if "decoder_positions" in batch and is_learned:
      decoder_positions_BP = batch["decoder_positions"]
    return self.model.apply(
      {"params": params},
      ids_BL,
      segments_BL,
      positions_BL,
      decoder_ids_BP,
      decoder_segments_BP,
      decoder_positions_BP,
      deterministic=key is None,
      rngs=None if key is None else {"dropout": key},
    )

  def forward_flops(self) -> float:
    model, length = self.config.model, self.config.data.seq_len
    targets = self.num_targets
    return (
      flops.encoder(model, length)
      + flops.decoder(model, targets, length)
      + flops.masked_lm_head(model, targets, self.vocab.size)
    )
