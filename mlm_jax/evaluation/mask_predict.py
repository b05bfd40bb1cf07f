"""A text mended by an encoder-decoder, in a few passes (Mask-Predict)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require
from mlm_jax.evaluation.fill_mask import least_sure
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
  """Returns what the decoder says of a text (Ghazvininejad et al. 2019).

  The encoder tells how long it is. Of each of the likeliest lengths, all tokens
  are predicted at once; in each further pass, the least sure are masked again, in
  linearly falling number, and predicted given the others. The length is taken that,
  with its tokens, has the highest log-probability a token; the paper looks at the
  tokens alone, to which an unlikely length of a sure token would be the best.

  Args:
    run: a model of `objective.name="cmlm"`.
    params: its parameters.
    tokenizer: its tokenizer.
    text: what the encoder reads; "[MASK]" may stand for any number of words.
    passes: T, 1 predicts all tokens independently of each other.
    num_lengths: how many lengths are tried.

  Returns:
    The text, and the log-probability of its length and tokens, in nats a token,
    each in the pass that put it there.

  Raises:
    InputError: the text is longer than the model's positions.
  """
  vocab, longest = tokenizer.vocabulary, run.config.model.max_positions
  require(passes >= 1, f"--passes must be positive, not {passes}")
  require(
    1 <= num_lengths <= longest - 2,
    f"--lengths must be from 1 to {longest - 2}, not {num_lengths}",
  )
  ids = tokenizer.encode_with_masks(text)
  ids = np.array([vocab.start_id, *ids, vocab.end_id])
  require(
    len(ids) <= longest,
    f"the text has {len(ids)} tokens, the model takes {longest}",
  )
  encoded, lengths = _encode(
    run.objective.model, vocab, params, _row(ids, longest, vocab)
  )
  # At least a token, and there is a start and an end.
  lengths = jax.device_get(jax.nn.log_softmax(lengths[1 : longest - 1]))
  likeliest = np.argsort(-lengths)[:num_lengths]
  sizes = 1 + likeliest
  texts = np.stack(
    [
      np.pad(
        [vocab.start_id, *[vocab.mask_id] * size, vocab.end_id],
        (0, max(sizes) - size),
        constant_values=vocab.pad_id,
      )
      for size in sizes
    ]
  )
  texts = _row(texts, longest, vocab)
  asked = texts == vocab.mask_id
  sure = np.zeros(texts.shape)
  hidden = asked.copy()
  for done in range(1, passes + 1):
    told, log = jax.device_get(
      _tell(run.objective.model, vocab, params, encoded, jnp.asarray(texts))
    )
    texts[hidden], sure[hidden] = told[hidden], log[hidden]
    for row, size in enumerate(sizes):
      again = least_sure(sure[row, 1 : 1 + size], done, passes)
      hidden[row, 1 : 1 + size] = again
    if not hidden.any():
      break
    texts[hidden] = vocab.mask_id
  means = (np.sum(sure, where=asked, axis=1) + lengths[likeliest]) / sizes
  best = int(np.argmax(means))
  return tokenizer.decode(texts[best][asked[best]]), float(means[best])


def _row(ids, longest, vocab):
  """Returns int32 rows, padded to lengths of which there are few."""
  ids = np.atleast_2d(ids)
  length = min(longest, -(-ids.shape[1] // 32) * 32)
  padding = (0, 0), (0, length - ids.shape[1])
  return np.pad(ids, padding, constant_values=vocab.pad_id).astype(np.int32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _encode(model: ConditionalMaskedLM, vocab, params, ids_1L):
  """Returns the encoder's vectors and their segments, and [N] length logits."""
  arrays = segments_and_positions(ids_1L, vocab)
  encoded_1LD, lengths_1LN = model.apply(
    {"params": params}, ids_1L, *arrays, method="encode"
  )
  return (encoded_1LD, arrays[0]), lengths_1LN[0, 0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _tell(model: ConditionalMaskedLM, vocab, params, encoded, ids_BP):
  """Returns the likeliest ordinary token at each place, and its log-probability."""
  arrays = segments_and_positions(ids_BP, vocab)
  encoded = [jnp.broadcast_to(x, (len(ids_BP), *x.shape[1:])) for x in encoded]
  logits = model.apply(
    *({"params": params}, *encoded, ids_BP, *arrays),
    causal=False,
    method="decode",
  )
  special = np.array(vocab.special_ids)
  logits_BPV = logits.logits_BPV.at[..., special].set(-jnp.inf)
  logs_BPV = jax.nn.log_softmax(logits_BPV)
  return jnp.argmax(logs_BPV, axis=-1), jnp.max(logs_BPV, axis=-1)
