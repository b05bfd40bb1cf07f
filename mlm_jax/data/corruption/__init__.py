"""Corruptions: from rows to what the model sees and what it must say.

A corruption is one TF function of whole batches. Its randomness depends on the
seed and on each row's place in the stream of rows (which is its epoch and row,
under the shuffle), never on batch, worker or host: equal rows are corrupted
equally on every machine. Shapes are static: a row has `num_targets` slots, and
those past its last target weigh nothing.
"""

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption import (
  choosing,
  continuing,
  masking,
  pairs,
  sequences,
)
from mlm_jax.data.corruption.draws import Draws
from mlm_jax.data.corruption.primitives import spans
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary

# No corruption has as many streams of random numbers.
_OF_PAIRS = 1 << 10


def corrupt(
  rows_BL: tf.Tensor,
  first_position: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  seed: int,
  progress: float | tf.Tensor = 0.0,
) -> dict[str, tf.Tensor]:
  """Returns the batch that asks the model for what `corruption` hid.

  Args:
    rows_BL: int32 packed rows, consecutive in the stream; past those that become
      the batch, `corruption.rows_ahead` more.
    first_position: int64 scalar, the place of the first row in the stream.
    corruption: what to do.
    vocab: which ids are special, and which begin a word.
    seed: chooses among the corruptions of the same stream.
    progress: how much of the training is done, 0 to 1; some rates follow it.

  Returns:
    input_ids int32 [B, L]; target_ids int32 [B, P]; target_weights float32
    [B, P], 1 for a target and 0 where there is none; of encoders, where the
    targets are, target_positions int32 [B, P]; of encoder-decoders what the
    decoder sees, decoder_ids int32 [B, P]; and what else the kind has.

    Of sentence pairs also type_ids int32 [B, L], 1 for the second sentence;
    pair_labels int32 [B], 1 where it belongs there; pair_weights float32 [B], 0
    where there is none.
  """
  pair = {}
  if corruption.sentence_pairs != "none":
    draws = Draws(seed, first_position, tf.shape(rows_BL)[0], _OF_PAIRS)
    make = pairs.PAIRS[corruption.sentence_pairs]
    rows_BL, pair = make(rows_BL, vocab, draws)
  draws = Draws(seed, first_position, tf.shape(rows_BL)[0])
  rate = corruption.mask_rate
  if corruption.final_mask_rate:
    rate += (corruption.final_mask_rate - rate) * progress
  batch = _CORRUPTIONS[corruption.kind](rows_BL, rate, corruption, vocab, draws)
  if corruption.causal_share:
    batch = continuing.mix(batch, rows_BL, corruption, vocab, draws)
  return batch | pair


def _masked(choose):
  def corrupt(rows_BL, rate, corruption, vocab, draws):
    chosen = choose(rows_BL, rate, corruption, vocab, draws)
    return masking.mask(rows_BL, chosen, corruption, vocab, draws)

  return corrupt


_CORRUPTIONS = {
  "token_masking": _masked(choosing.choose_tokens),
  "whole_words": _masked(choosing.choose_words),
  "spans": _masked(spans.choose_spans),
  "uniform_masking": _masked(choosing.choose_any_number),
  "next_token": lambda rows_BL, rate, corruption, vocab, draws: (
    continuing.next_tokens(rows_BL, vocab)
  ),
  "prefix": lambda rows_BL, rate, corruption, vocab, draws: (
    continuing.after_prefix(rows_BL, vocab, draws)
  ),
  "span_corruption": sequences.corrupt_spans,
  "denoising": sequences.denoise,
  "fragment": sequences.hide_fragments,
  "conditional_masking": sequences.mask_conditionally,
}
