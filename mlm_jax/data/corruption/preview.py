"""A corruption, shown to a person: what the model sees, and what it must say."""

import difflib
from collections.abc import Iterator, Sequence

import numpy as np
import rich.text

from mlm_jax.config import Config
from mlm_jax.data.corruption import corrupt
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require

# What is done to a token, in the words of the legend, and how it looks.
_LEFT, _SEEN = "left as it is, and asked for", "seen by all"
_MOVED, _LOST = "moved", "not seen by the encoder"
_SECOND = "the second sentence"
STYLES = {
  "masked": "bold black on yellow",
  "replaced": "bold white on red",
  _LEFT: "bold black on cyan",
  _SEEN: "black on green",
  _MOVED: "black on green",
  _LOST: "bold black on cyan",
  _SECOND: "underline",
}

# What is said of a pair, by its label.
_PAIRS = {
  "nsp": ("the second is another text's", "the second follows the first"),
  "sop": ("the second stood first", "they stand in order"),
}

# A line: ids, what was done to each, and the ids whose spaces they have.
_Line = tuple[Sequence[int], Sequence[str], Sequence[int]]


def show(
  config: Config,
  tokenizer: Tokenizer,
  text: str,
  times: int = 3,
  after: str = "",
) -> Iterator[rich.text.Text]:
  """Yields lines: the text, then what `times` corruptions make of it.

  Args:
    config: its `corruption` and `seed`.
    tokenizer: cuts the text.
    text: one document, of at most `data.seq_len` tokens.
    times: how many.
    after: another one, for pairs of sentences.

  Raises:
    InputError: a text is longer than a row.
  """
  vocab, corruption = tokenizer.vocabulary, config.corruption
  rows = [_row(config, tokenizer, one) for one in (text, after)]
  size = int(np.sum(rows[0] != vocab.pad_id))
  batch = corrupt(
    # Each is followed by the other one, and it alone is shown.
    tf.constant(np.tile(rows, [times + corruption.rows_ahead, 1])),
    tf.constant(0, tf.int64),
    corruption,
    vocab,
    config.seed,
  )
  original, shown = rows[0][:size], set()
  yield _line("original", tokenizer, (original, [""] * size, original))
  for number in range(0, 2 * times, 2):
    one = {name: value.numpy()[number] for name, value in batch.items()}
    if "decoder_ids" in one:
      lines = _rewritten(vocab, original, one)
    elif corruption.masks and (
      "prefix" not in one or one["prefix"][:size].all()
    ):
      lines = _masked(vocab, one)
    else:
      lines = _continued(vocab, one)
    yield rich.text.Text()
    for name, line in lines.items():
      between = " |" if name == "asked for" else ""
      yield _line(name, tokenizer, line, between)
      shown |= set(line[1])
    if corruption.sentence_pairs != "none":
      said = "no pair"
      if one["pair_weights"]:
        said = _PAIRS[corruption.sentence_pairs][one["pair_labels"]]
      yield rich.text.Text(f"{'and':<11}{said}")
  yield rich.text.Text()
  legend = rich.text.Text()
  for name in filter(shown.__contains__, STYLES):
    legend.append(f" {name} ", STYLES[name]).append("  ")
  yield legend


def _row(config, tokenizer, text):
  vocab = tokenizer.vocabulary
  ids = [vocab.start_id, *tokenizer.encode([text])[0], vocab.end_id]
  require(
    len(ids) <= config.data.seq_len,
    f"the text has {len(ids)} tokens, a row takes data.seq_len="
    f"{config.data.seq_len}",
  )
  row = np.full([config.data.seq_len], vocab.pad_id, np.int32)
  row[: len(ids)] = ids
  return row


def _masked(vocab, one) -> dict[str, _Line]:
  """Returns the lines of an encoder, which is asked for what was there."""
  seen, asked = _seen_and_asked(vocab, one)
  types = one.get("type_ids", np.zeros_like(one["input_ids"]))
  done = [_SECOND if second else "" for second in types[: len(seen)]]
  whole = seen.copy()
  for place, original in asked.items():
    done[place] = _done(vocab, seen[place], original)
    whole[place] = original
  words = [*asked.values()]
  return {
    # A mask has the space of the word that it hides.
    "seen": (seen, done, whole),
    "asked for": (words, [done[place] for place in asked], words),
  }


def _continued(vocab, one) -> dict[str, _Line]:
  """Returns the lines of an encoder that is asked for what comes next."""
  seen, asked = _seen_and_asked(vocab, one)
  prefix = one.get("prefix", np.zeros_like(one["input_ids"]))
  done = [_SEEN if part else "" for part in prefix[: len(seen)]]
  words = [*asked.values()]
  return {
    "seen": (seen, done, seen),
    "asked for": (words, [""] * len(words), words),
  }


def _seen_and_asked(vocab, one):
  seen = one["input_ids"][one["input_ids"] != vocab.pad_id]
  real = one["target_weights"] > 0
  pairs = zip(
    one["target_positions"][real], one["target_ids"][real], strict=True
  )
  return seen, dict(sorted(pairs))


def _rewritten(vocab, original, one) -> dict[str, _Line]:
  """Returns the lines of an encoder-decoder, whose tokens have moved."""
  seen = one["input_ids"][one["input_ids"] != vocab.pad_id]
  decoded = one["decoder_ids"][one["decoder_ids"] != vocab.pad_id]
  asked = np.flatnonzero(one["target_weights"])
  said = one["target_ids"][asked]
  hides = {vocab.mask_id, *vocab.sentinel_ids}
  matcher = difflib.SequenceMatcher(None, original, seen, autojunk=False)
  # What is left after all that stayed in order: it moved, or is gone.
  left = dict(enumerate(original.tolist()))
  done = [_MOVED] * len(seen)
  for block in matcher.get_matching_blocks():
    for i in range(block.size):
      del left[block.a + i]
      done[block.b + i] = ""
  for place, token in enumerate(seen.tolist()):
    if done[place] and token in hides:
      done[place] = "masked"
    elif done[place]:
      found = next((i for i, other in left.items() if other == token), None)
      done[place] = _MOVED if left.pop(found, None) is not None else "replaced"

  lines = {"seen": (seen, done, seen)}
  if vocab.mask_id in decoded:
    masked = ["masked" if token in hides else "" for token in decoded]
    lines["decoder"] = (decoded, masked, decoded)
    lost = [_LOST if place in left else "" for place in asked]
  elif np.array_equal(decoded, original):
    # Each token is asked for by the one before it.
    lost = [_LOST if place + 1 in left else "" for place in asked]
  else:
    lost = ["masked" if token in hides else _LOST for token in said.tolist()]
  return lines | {"asked for": (said, lost, said)}


def _done(vocab, here, original) -> str:
  if here == vocab.mask_id:
    return "masked"
  return _LEFT if here == original else "replaced"


def _line(name, tokenizer, line: _Line, between: str = "") -> rich.text.Text:
  text = rich.text.Text(f"{name:<11}")
  read = lambda token: tokenizer.reading(int(token))
  for place, (token, what, like) in enumerate(zip(*line, strict=True)):
    text.append(between if place else "")
    text.append(" " if read(like).startswith(" ") else "")
    text.append(read(token).removeprefix(" "), STYLES.get(what, ""))
  return text
