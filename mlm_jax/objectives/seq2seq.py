"""Encoder-decoders: what was lost from a text, said by a decoder.

What is lost, and what there is to say of it, is the corruption's: the same
objective is T5's (Raffel et al. 2020), BART's (Lewis et al. 2020) and MASS's (Song
et al. 2019). A decoder that fills in masks is Mask-Predict's (Ghazvininejad et al.
2019), where the encoder also tells how long the text is.
"""

import jax
import jax.numpy as jnp

from mlm_jax.config import Config
from mlm_jax.models.composite import ConditionalMaskedLM, EncoderDecoder
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives.base import Batch, Objective, Sums
from mlm_jax.objectives.cross_entropy import cross_entropy
from mlm_jax.vocabulary import Vocabulary


def arrays_of(model: EncoderDecoder, vocab: Vocabulary, batch: Batch):
  """Returns the arrays that the model takes of a batch."""
  both = [
    (
      batch[ids],
      *segments_and_positions(
        batch[ids], start_id=vocab.start_id, pad_id=vocab.pad_id
      ),
    )
    for ids in ("input_ids", "decoder_ids")
  ]
  # Where they are learned, positions are more than distances.
  if "decoder_positions" in batch and model.config.position_kind == "learned":
    both[1] = *both[1][:2], batch["decoder_positions"]
  return *both[0], *both[1]


def sums(
  model: EncoderDecoder,
  vocab: Vocabulary,
  params,
  batch: Batch,
  key: jax.Array | None = None,
) -> Sums:
  """Returns the loss over a batch's targets, as `Objective` has it."""
  conditional = isinstance(model, ConditionalMaskedLM)
  found = model.clone(as_scores=True).apply(
    {"params": params},
    *arrays_of(model, vocab, batch),
    causal=not conditional,
    deterministic=key is None,
    rngs=None if key is None else {"dropout": key},
  )
  targets = batch["target_ids"], batch["target_weights"]
  if not conditional:
    return {"seq2seq": cross_entropy(found, *targets)}
  told, lengths_BLN = found
  lengths_BL = batch["target_lengths"]
  return {
    "cmlm": cross_entropy(told, *targets),
    "length": cross_entropy(lengths_BLN, lengths_BL, lengths_BL > 0),
  }


SEQ2SEQ = Objective(
  tells="seq2seq",
  model=lambda config, vocab: EncoderDecoder(config.model, vocab.size),
  terms=lambda config: {"seq2seq": 1.0},
  weights=lambda batch, vocab: {"seq2seq": jnp.sum(batch["target_weights"])},
  sums=sums,
  parts=lambda config, vocab, params: {
    "model": (EncoderDecoder(config.model, vocab.size), params)
  },
)


def _cmlm(config: Config, vocab: Vocabulary) -> ConditionalMaskedLM:
  return ConditionalMaskedLM(config.model, vocab.size)


CMLM = Objective(
  tells="cmlm",
  model=_cmlm,
  terms=lambda config: {"cmlm": 1.0, "length": 1.0},
  weights=lambda batch, vocab: {
    "cmlm": jnp.sum(batch["target_weights"]),
    "length": jnp.sum(batch["target_lengths"] > 0, dtype=jnp.float32),
  },
  sums=sums,
  parts=lambda config, vocab, params: {"model": (_cmlm(config, vocab), params)},
)
