"""A corruption, shown to a person: what the model sees, and what it must say."""

from collections.abc import Iterator

import numpy as np
import rich.text

from mlm_jax.config import Config
from mlm_jax.data.corruption import corrupt
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.data.tokenizer import Tokenizer
from mlm_jax.errors import require

# What is done to a token, in the words of the legend, and how it looks.
_LEFT, _SEEN = "left as it is, and asked for", "seen by all"
STYLES = {
  "masked": "bold black on yellow",
  "replaced": "bold white on red",
  _LEFT: "bold black on cyan",
  _SEEN: "black on green",
}


def show(
  config: Config, tokenizer: Tokenizer, text: str, times: int = 3
) -> Iterator[rich.text.Text]:
  """Yields lines: the text, then what `times` corruptions make of it.

  Args:
    config: its `corruption` and `seed`.
    tokenizer: cuts the text.
    text: one document, of at most `data.seq_len` tokens.
    times: how many.

  Raises:
    InputError: the text is longer than a row.
  """
  vocab = tokenizer.vocabulary
  ids = [vocab.start_id, *tokenizer.encode([text])[0], vocab.end_id]
  require(
    len(ids) <= config.data.seq_len,
    f"the text has {len(ids)} tokens, a row takes data.seq_len="
    f"{config.data.seq_len}",
  )
  row = np.full([config.data.seq_len], vocab.pad_id, np.int32)
  row[: len(ids)] = ids
  batch = corrupt(
    tf.constant(np.tile(row, [times, 1])),
    tf.constant(0, tf.int64),
    config.corruption,
    vocab,
    config.seed,
  )
  batch = {name: value.numpy() for name, value in batch.items()}
  size, shown = len(ids), set()
  yield _line("original", tokenizer, ids, [""] * size)
  for number in range(times):
    one = {name: value[number] for name, value in batch.items()}
    real = one["target_weights"] > 0
    asked = dict(
      zip(one["target_positions"][real], one["target_ids"][real], strict=True)
    )
    seen = one["input_ids"][:size]
    done = [_SEEN if p else "" for p in one.get("prefix", row * 0)[:size]]
    if config.corruption.masks:
      done = [
        _done(vocab, place in asked, here, ids[place])
        for place, here in enumerate(seen)
      ]
    yield rich.text.Text()
    yield _line("seen", tokenizer, seen, done, spaced_as=ids)
    places = sorted(asked)
    words = [asked[place] for place in places]
    styles = [done[place] for place in places]
    if not config.corruption.masks:
      styles = [""] * len(words)
    yield _line("asked for", tokenizer, words, styles, between=" |")
    shown |= set(done)
  yield rich.text.Text()
  legend = rich.text.Text()
  for name in filter(shown.__contains__, STYLES):
    legend.append(f" {name} ", STYLES[name]).append("  ")
  yield legend


def _done(vocab, is_asked, here, original) -> str:
  if not is_asked:
    return ""
  if here == vocab.mask_id:
    return "masked"
  return _LEFT if here == original else "replaced"


def _line(
  name, tokenizer, ids, done, spaced_as=None, between=""
) -> rich.text.Text:
  line = rich.text.Text(f"{name:<11}")
  read = lambda token: tokenizer.reading(int(token))
  # A mask has the space of the word that it hides.
  spaced_as = ids if spaced_as is None else spaced_as
  for place, (token, like, what) in enumerate(
    zip(ids, spaced_as, done, strict=True)
  ):
    line.append(between if place else "")
    line.append(" " if read(like).startswith(" ") else "")
    line.append(read(token).removeprefix(" "), STYLES.get(what, ""))
  return line
