"""Infilling by an encoder-decoder in a few passes (Mask-Predict)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require
from mlm_jax.evaluation import infill
from mlm_jax.models.composite import ConditionalMaskedLM
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.training.run import Run


def mask_predict(
  run: Run,
  params,
  tokenizer: Tokenizer,
  text: str,
  passes: int = 10,
  num_lengths: int = 5,
) -> tuple[str, float]:
  """Returns the decoder's text for an input text (Ghazvininejad et al. 2019).

  The encoder predicts the length. For each of the most probable lengths, the
  decoder fills that many masks in several passes (see `infill`). The candidate
  with the highest log-probability of length and tokens, per token, is returned.
  The paper compares the tokens alone, which prefers an improbable length with
  one confident token.

  Args:
    run: a model of `objective.name="cmlm"`.
    params: its parameters.
    tokenizer: its tokenizer.
    text: the encoder's input; a "[MASK]" may stand for any number of words.
    passes: in one pass, tokens are predicted independently of each other.
    num_lengths: the number of lengths to try.

  Returns:
    The text, and the log-probability of its length and tokens, in nats per
    token, where each token counts as in the pass that last predicted it.

  Raises:
    InputError: the text is longer than the model's positions.
  """
  vocab, longest = tokenizer.vocabulary, run.config.model.max_positions
  require(passes >= 1, f"--passes must be positive, not {passes}")
  require(
    1 <= num_lengths <= longest - 2,
    f"--lengths must be from 1 to {longest - 2}, not {num_lengths}",
  )
  ids = infill.encode(tokenizer, text, longest)
  encoded, length_logits = _encode(run.objective.model, vocab, params, ids)
  # The start and the end token take two positions.
  log_lengths = jax.nn.log_softmax(length_logits[1 : longest - 1])
  log_lengths = jax.device_get(log_lengths)
  candidates = np.argsort(-log_lengths)[:num_lengths]
  sizes = 1 + candidates
  masked_BP = _masked_rows(sizes, longest, vocab)
  predict = lambda ids_BP: jax.device_get(
    _predict(run.objective.model, vocab, params, encoded, jnp.asarray(ids_BP))
  )
  ids, logs = infill.infill(predict, masked_BP, vocab.mask_id, passes)
  is_text = masked_BP == vocab.mask_id
  sums = np.sum(logs[..., 0], where=is_text, axis=1)
  means = (sums + log_lengths[candidates]) / sizes
  best = int(np.argmax(means))
  return tokenizer.decode(ids[best, is_text[best], 0]), float(means[best])


def _masked_rows(sizes, longest, vocab) -> np.ndarray:
  """Returns one row for each size: start token, that many masks, end token."""
  rows = np.full([len(sizes), max(sizes) + 2], vocab.pad_id)
  for row, size in zip(rows, sizes, strict=True):
    row[: size + 2] = vocab.start_id, *[vocab.mask_id] * size, vocab.end_id
  return infill.pad(rows, longest, vocab)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _encode(model: ConditionalMaskedLM, vocab, params, ids_1L):
  """Returns (encoder vectors, segment ids) and length logits [N]."""
  arrays = segments_and_positions(ids_1L, vocab)
  encoded_1LD, lengths_1LN = model.apply(
    {"params": params}, ids_1L, *arrays, method="encode"
  )
  return (encoded_1LD, arrays[0]), lengths_1LN[0, 0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(model: ConditionalMaskedLM, vocab, params, encoded, ids_BP):
  """Returns the best ordinary token and its log-probability, both [B, P, 1]."""
  arrays = segments_and_positions(ids_BP, vocab)
  encoded = [jnp.broadcast_to(x, (len(ids_BP), *x.shape[1:])) for x in encoded]
  logits = model.apply(
    {"params": params},
    *encoded,
    ids_BP,
    *arrays,
    causal=False,
    method="decode",
  )
  special = np.array(vocab.special_ids)
  logits_BPV = logits.logits_BPV.at[..., special].set(-jnp.inf)
  logs_BPV = jax.nn.log_softmax(logits_BPV)
  return (
    jnp.argmax(logs_BPV, axis=-1, keepdims=True),
    jnp.max(logs_BPV, axis=-1, keepdims=True),
  )
