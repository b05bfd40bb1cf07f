"""The preview of a corruption: what the model reads and must predict."""

import difflib
from collections.abc import Iterator, Sequence

import numpy as np
import rich.text

from mlm_jax.config import Config
from mlm_jax.data.corruption import bind, corrupt
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require
from mlm_jax.vocabulary import Vocabulary

# What was done to a token, in the words of the legend, and its style.
_UNCHANGED, _PREFIX = "unchanged target", "prefix"
_MOVED, _HIDDEN = "moved", "hidden from the encoder"
_SECOND = "second sentence"
STYLES = {
  "masked": "bold black on yellow",
  "replaced": "bold white on red",
  _UNCHANGED: "bold black on cyan",
  _PREFIX: "black on green",
  _MOVED: "black on green",
  _HIDDEN: "bold black on cyan",
  _SECOND: "underline",
}

# What is printed of a pair, by its label.
_PAIRS = {
  "nsp": ("the second is from the other text", "the second follows the first"),
  "sop": ("the second came first", "in order"),
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
  """Yields lines: the text, then `times` corruptions of it.

  Args:
    config: its `corruption` and `seed`.
    tokenizer: of the text.
    text: one document, of at most `data.seq_len` tokens.
    times: how many corruptions.
    after: the document whose sentences may be second in a pair.

  Raises:
    InputError: a text is longer than a row.
  """
  vocab, keys = tokenizer.vocabulary, config.corruption
  corruption = bind(keys)
  rows = [_row(config, tokenizer, one) for one in (text, after)]
  size = int(np.sum(rows[0] != vocab.pad_id))
  batch = corrupt(
    # Each text is followed by the other one; only its own rows are shown.
    np.tile(rows, [times + corruption.lookahead_rows, 1]),
    0,
    keys,
    vocab,
    config.seeds.masks,
  )
  original, shown = rows[0][:size], set()
  yield _line("original", tokenizer, (original, [""] * size, original))
  for number in range(0, 2 * times, 2):
    row = {name: value[number] for name, value in batch.items()}
    if corruption.task in ("generate", "fill_decoder_masks"):
      lines = _decoder_lines(vocab, original, row)
    elif corruption.task == "predict_next" or not _all_prefix(row, size):
      lines = _next_token_lines(vocab, row)
    else:
      lines = _masked_lines(vocab, row)
    yield rich.text.Text()
    for name, line in lines.items():
      between = " |" if name == "targets" else ""
      yield _line(name, tokenizer, line, between)
      shown |= set(line[1])
    if keys.sentence_pairs != "none":
      label = "no pair"
      if row["pair_weights"]:
        label = _PAIRS[keys.sentence_pairs][row["pair_labels"]]
      yield rich.text.Text(f"{'pair':<11}{label}")
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
    f"the text has {len(ids)} tokens, a row at most data.seq_len="
    f"{config.data.seq_len}",
  )
  row = np.full([config.data.seq_len], vocab.pad_id, np.int32)
  row[: len(ids)] = ids
  return row


def _all_prefix(row, size) -> bool:
  return "prefix" not in row or row["prefix"][:size].all()


def _masked_lines(vocab: Vocabulary, row) -> dict[str, _Line]:
  """Returns the lines of a row with masks for an encoder."""
  ids, targets = _ids_and_targets(vocab, row)
  types = row.get("type_ids", np.zeros_like(row["input_ids"]))
  done = [_SECOND if second else "" for second in types[: len(ids)]]
  restored = ids.copy()
  for position, target in targets.items():
    done[position] = _replacement(vocab, ids[position], target)
    restored[position] = target
  words = [*targets.values()]
  return {
    # A mask has the space of the word that it replaces.
    "input": (ids, done, restored),
    "targets": (words, [done[position] for position in targets], words),
  }


def _next_token_lines(vocab: Vocabulary, row) -> dict[str, _Line]:
  """Returns the lines of a row that predicts the next token."""
  ids, targets = _ids_and_targets(vocab, row)
  prefix = row.get("prefix", np.zeros_like(row["input_ids"]))
  done = [_PREFIX if inside else "" for inside in prefix[: len(ids)]]
  words = [*targets.values()]
  return {
    "input": (ids, done, ids),
    "targets": (words, [""] * len(words), words),
  }


def _ids_and_targets(vocab, row):
  """Returns the tokens of a row, and its targets by their positions."""
  ids = row["input_ids"][row["input_ids"] != vocab.pad_id]
  is_target = row["target_weights"] > 0
  positions, targets = row["target_positions"], row["target_ids"]
  pairs = zip(positions[is_target], targets[is_target], strict=True)
  return ids, dict(sorted(pairs))


def _decoder_lines(vocab: Vocabulary, original, row) -> dict[str, _Line]:
  """Returns the lines of an encoder-decoder, whose tokens may have moved."""
  ids = row["input_ids"][row["input_ids"] != vocab.pad_id]
  decoded = row["decoder_ids"][row["decoder_ids"] != vocab.pad_id]
  positions = np.flatnonzero(row["target_weights"])
  targets = row["target_ids"][positions]
  masks = {vocab.mask_id, *vocab.sentinel_ids}
  done, missing = _moved_and_missing(original, ids, masks)
  lines = {"input": (ids, done, ids)}
  if vocab.mask_id in decoded:
    masked = ["masked" if token in masks else "" for token in decoded]
    lines["decoder"] = (decoded, masked, decoded)
    hidden = [_HIDDEN if position in missing else "" for position in positions]
  elif np.array_equal(decoded, original):
    # Each token is predicted at the one before it.
    hidden = [
      _HIDDEN if position + 1 in missing else "" for position in positions
    ]
  else:
    hidden = ["masked" if token in masks else _HIDDEN for token in targets]
  return lines | {"targets": (targets, hidden, targets)}


def _moved_and_missing(original, ids, masks) -> tuple[list[str], dict]:
  """Compares the encoder's tokens with the original text.

  Returns:
    What was done to each of `ids`; and the original tokens, by their positions,
    that are not among them.
  """
  matcher = difflib.SequenceMatcher(None, original, ids, autojunk=False)
  # All that did not stay in order has moved, or is missing.
  missing = dict(enumerate(original.tolist()))
  done = [_MOVED] * len(ids)
  for block in matcher.get_matching_blocks():
    for i in range(block.size):
      del missing[block.a + i]
      done[block.b + i] = ""
  for position, token in enumerate(ids.tolist()):
    if not done[position]:
      continue
    if token in masks:
      done[position] = "masked"
      continue
    found = next((i for i, other in missing.items() if other == token), None)
    moved = missing.pop(found, None) is not None
    done[position] = _MOVED if moved else "replaced"
  return done, missing


def _replacement(vocab, token, target) -> str:
  if token == vocab.mask_id:
    return "masked"
  return _UNCHANGED if token == target else "replaced"


def _line(name, tokenizer, line: _Line, between: str = "") -> rich.text.Text:
  text = rich.text.Text(f"{name:<11}")
  read = lambda token: tokenizer.display_text(int(token))
  for position, (token, what, like) in enumerate(zip(*line, strict=True)):
    text.append(between if position else "")
    text.append(" " if read(like).startswith(" ") else "")
    text.append(read(token).removeprefix(" "), STYLES.get(what, ""))
  return text
