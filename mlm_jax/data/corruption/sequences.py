"""Encoder-decoders: what the one sees, and what the other must say.

The decoder's rows are packed as the encoder's are: each document has its start
token in both, by which they know which of them belong together.
"""

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption import (
  choosing,
  continuing,
  masking,
  noising,
)
from mlm_jax.data.corruption.documents import (
  find_documents,
  runs_begin,
  squeeze,
)
from mlm_jax.data.corruption.draws import Draws, below
from mlm_jax.data.corruption.primitives import spans
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.errors import require
from mlm_jax.vocabulary import Vocabulary


def corrupt_spans(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> dict[str, tf.Tensor]:
  """Returns T5's batch (Raffel et al. 2020).

  The encoder sees each hidden span as a sentinel, the first of a document as the
  first of them; the decoder says the sentinels, each before its span.

  Raises:
    InputError: the vocabulary has fewer sentinels than a row may have spans.
  """
  length, slots = rows_BL.shape[1], corruption.num_targets(rows_BL.shape[1])
  most = corruption.num_spans(length)
  require(
    len(vocab.sentinel_ids) >= most,
    f"rows of {length} may have {most} hidden spans, the tokenizer has "
    f"{len(vocab.sentinel_ids)} sentinels (<extra_id_0> and so on)",
  )
  hidden_BL = spans.noise_spans(rows_BL, rate, corruption, vocab, draws)
  first_BL = runs_begin(hidden_BL)
  docs = find_documents(rows_BL, vocab)
  number_BL = tf.cumsum(tf.cast(first_BL, tf.int32), axis=1)
  # Counted from each document's start on.
  before_BM = tf.gather(
    number_BL, tf.maximum(docs.begins_BM - 1, 0), batch_dims=1
  )
  number_BL -= docs.of_token(before_BM)
  sentinel_BL = tf.gather(
    tf.constant(vocab.sentinel_ids, tf.int32),
    tf.clip_by_value(number_BL - 1, 0, most - 1),
  )
  seen_BL = squeeze(
    tf.where(first_BL, sentinel_BL, rows_BL),
    first_BL | ~hidden_BL,
    length,
    vocab.pad_id,
  )
  # A document without a span has nothing to say, not even its end.
  said_BL = hidden_BL | (rows_BL == vocab.start_id)
  said_BL |= (rows_BL == vocab.end_id) & (number_BL > 0)
  flat = lambda *x_BL: tf.reshape(tf.stack(x_BL, axis=-1), [-1, 2 * length])
  said_BP = squeeze(
    flat(sentinel_BL, rows_BL), flat(first_BL, said_BL), slots, vocab.pad_id
  )
  return _ask(seen_BL, said_BP, vocab)


def denoise(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> dict[str, tf.Tensor]:
  """Returns BART's batch: the decoder says the text as it was."""
  seen_BL = noising.add_noise(rows_BL, rate, corruption, vocab, draws)
  return _ask(seen_BL, rows_BL, vocab)


def hide_fragments(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> dict[str, tf.Tensor]:
  """Returns MASS's batch (Song et al. 2019).

  Of each document the encoder sees a stretch, `mask_rate` of its tokens, as
  masks, a few as random tokens or themselves; the decoder says it, its positions
  those of the document.
  """
  length, slots = rows_BL.shape[1], corruption.num_targets(rows_BL.shape[1])
  docs = find_documents(rows_BL, vocab)
  sizes_BM = tf.cast(docs.sizes_BM, tf.float32)
  hidden_BM = tf.cast(tf.round(rate * sizes_BM), tf.int32)
  free_BM = docs.sizes_BM - hidden_BM
  begins_BM = docs.begins_BM + below(free_BM + 1, docs.draw(draws))
  place_BL = tf.range(length) - docs.of_token(begins_BM)
  hidden_BL = docs.inside_BL & (place_BL >= 0)
  hidden_BL &= place_BL < docs.of_token(hidden_BM)
  hidden_BL &= tf.gather(vocab.is_ordinary, rows_BL)
  shown_BL = masking.show(rows_BL, draws.bits(length), corruption, vocab, draws)
  seen_BL = tf.where(hidden_BL, shown_BL, rows_BL)
  is_start_BL = rows_BL == vocab.start_id
  said_BL = hidden_BL | is_start_BL
  position_BL = tf.range(length) - docs.of_token(docs.begins_BM) + 1
  # The start stands where the last token before the fragment does.
  fragment_BL = docs.of_token(begins_BM - docs.begins_BM)
  position_BL = tf.where(is_start_BL, fragment_BL, position_BL)
  return {
    **_ask(seen_BL, squeeze(rows_BL, said_BL, slots, vocab.pad_id), vocab),
    "decoder_positions": squeeze(position_BL, said_BL, slots, 0),
  }


def mask_conditionally(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> dict[str, tf.Tensor]:
  """Returns CMLM's batch (Ghazvininejad et al. 2019).

  The encoder sees the text with noise, the decoder the text with any number of
  masks; it says what they hide. `target_lengths` int32 [B, L] has at the start of
  each document in the encoder's rows how many tokens there are to say.
  """
  seen_BL = noising.add_noise(rows_BL, rate, corruption, vocab, draws)
  docs = find_documents(rows_BL, vocab)
  hidden_BL = choosing.any_number(rows_BL, docs, vocab, draws)
  # The noise leaves every start.
  lengths_BL = find_documents(seen_BL, vocab).of_token(docs.sizes_BM)
  return {
    "input_ids": seen_BL,
    "decoder_ids": tf.where(hidden_BL, vocab.mask_id, rows_BL),
    "target_ids": rows_BL,
    "target_weights": tf.cast(hidden_BL, tf.float32),
    "target_lengths": tf.where(seen_BL == vocab.start_id, lengths_BL, 0),
  }


def _ask(seen_BL, said_BP, vocab):
  following = continuing.next_tokens(said_BP, vocab)
  return {
    "input_ids": seen_BL,
    "decoder_ids": said_BP,
    "target_ids": following["target_ids"],
    "target_weights": following["target_weights"],
  }
