"""`data.*`: from a corpus to rows of token ids."""

import dataclasses
import re
from typing import Literal

from mlm_jax.config.key import check_keys, key
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The corpus, its tokenizer and its rows."""

  # fmt: off
  corpus: str = key("",
    "Where the text comes from. tfds:NAME[/CONFIG][:SPLIT], text:GLOB, "
    "jsonl:GLOB or parquet:GLOB; separate several globs by commas. Files may "
    "end in .gz or .zst.",
    scope="data")
  text_field: str = key("text",
    "Name of the field that holds the text, in corpora with named fields.",
    scope="data")
  document_boundary: Literal["blank_line", "file", "wikitext"] = key(
    "blank_line",
    "Where documents of a text: corpus end. At a blank line, at the end of the "
    "file, or before a WikiText heading such as ' = Title = '.",
    scope="data")
  heldout_fraction: float = key(0.01,
    "Fraction of documents held out for evaluation. They are chosen by a hash "
    "of their text, and never trained on.",
    scope="data", at_least=0, below=1)
  tokenizer: str = key("bpe",
    "Tokenizer: trained on the corpus, or the path of one. unigram and bpe "
    "train a SentencePiece model; anything else is the path of a "
    "SentencePiece .model or a tokenizer.json, or the model that was imported.",
    scope="weights")
  vocab_size: int = key(30_522,
    "Tokens of the vocabulary, special tokens included. All bytes are among "
    "the tokens of a tokenizer that is trained.",
    scope="weights", at_least=300)
  num_sentinels: int = key(0,
    "Sentinel tokens of a tokenizer that is trained. Each stands for a masked "
    "span (T5's <extra_id_0> and so on).",
    scope="weights", at_least=0)
  lowercase: bool = key(True,
    "Lowercase the text, with a tokenizer that is trained.",
    scope="weights")
  tokenizer_sample_mb: int = key(100,
    "Megabytes of text that train the tokenizer, from the start of the corpus.",
    scope="data", above=0)
  seq_len: int = key(512,
    "Length of a row, in tokens.",
    scope="data", at_least=8)
  packing: Literal["best_fit", "concat", "single"] = key("best_fit",
    "How documents are packed into rows. best_fit keeps documents whole where "
    "they fit, concat fills rows in order, single puts one piece of a document "
    "in a row.",
    scope="data")
  rows_dir: str = key("",
    "Folder of the prepared rows, to share them between runs. Empty is "
    "WORKDIR/rows.",
    scope="data")
  skip_rows: str = key("",
    "Rows of the stream to leave out, such as 128..160,512..520. These are "
    "positions in it, and a range ends before its second. A run that continues "
    "may add ranges that it has not reached.",
    scope="data")
  tfds_data_dir: str = key("",
    "Folder of tensorflow-datasets' data. Empty is its own default.",
    scope="data")
  # fmt: on

  def __post_init__(self):
    check_keys(self, "data.")
    _ = self.skipped_ranges  # Raises where they are malformed.
    require(
      self.vocab_size >= 300 + self.num_sentinels,
      f"data.vocab_size={self.vocab_size} is too small: 256 bytes and the "
      f"special tokens alone take {261 + self.num_sentinels}",
    )

  @property
  def skipped_ranges(self) -> list[tuple[int, int]]:
    """Returns the ranges of `skip_rows`, in order: (first, end)."""
    ranges, end = [], 0
    for part in self.skip_rows.split(",") if self.skip_rows else ():
      match = re.fullmatch(r"(\d+)\.\.(\d+)", part.strip())
      require(
        match is not None and end <= int(match[1]) < int(match[2]),
        f"data.skip_rows={self.skip_rows!r} must list ranges in order, such as "
        f"128..160,512..520: {part!r} is none, is empty, or overlaps",
      )
      end = int(match[2])
      ranges.append((int(match[1]), end))
    return ranges
