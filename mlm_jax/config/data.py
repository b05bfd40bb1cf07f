"""`data.*`: from a corpus to rows of token ids."""

import dataclasses
from typing import Literal

from mlm_jax.config.checks import check_range, check_types
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class DataConfig:
  # tfds:NAME[/CONFIG][:SPLIT], text:GLOB, jsonl:GLOB or parquet:GLOB; several
  # globs are separated by commas; files may end in .gz or .zst.
  corpus: str = ""
  # The field that holds the text, where examples have named fields.
  text_field: str = "text"
  # Where a document of a text file ends: at a blank line, at the end of the
  # file, or before a WikiText " = Title = " line.
  document_boundary: Literal["blank_line", "file", "wikitext"] = "blank_line"
  # The share of documents, picked by a hash of their text, never trained on.
  heldout_fraction: float = 0.01
  # "unigram" or "bpe" trains a SentencePiece model on the corpus; anything else
  # is the path of a .model or a tokenizer.json, or what was imported.
  tokenizer: str = "bpe"
  vocab_size: int = 30_522
  # Of a tokenizer that is trained: pieces that stand for hidden spans (T5's
  # <extra_id_0> and so on).
  num_sentinels: int = 0
  lowercase: bool = True
  # At most this much text, from the start of the corpus, trains the tokenizer.
  tokenizer_sample_mb: int = 100
  seq_len: int = 512
  # best_fit keeps documents whole where they fit, concat fills rows in order,
  # single puts one document piece in a row.
  packing: Literal["best_fit", "concat", "single"] = "best_fit"
  # Where prepared rows are kept, to share them between runs; empty is
  # WORKDIR/rows.
  rows_dir: str = ""
  # Where tensorflow-datasets keeps its data; empty is its own default.
  tfds_data_dir: str = ""

  def __post_init__(self):
    check_types(self, "data")
    check_range(
      *(self, "data"),
      above_0=("tokenizer_sample_mb",),
      from_0=("num_sentinels",),
      from_0_below_1=("heldout_fraction",),
    )
    require(self.seq_len >= 8, "data.seq_len must be at least 8")
    require(
      self.vocab_size >= 300 + self.num_sentinels,
      f"data.vocab_size={self.vocab_size} is too small: 256 bytes and the "
      f"special tokens alone take {261 + self.num_sentinels}",
    )
