"""`data.*`: from a corpus, or several, to rows of token ids."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from mlm_jax.config.corpus import (
  CorpusConfig,
  SourceConfig,
  check_corpus,
  check_separator,
)
from mlm_jax.config.key import check_keys, key, keys_of, table
from mlm_jax.errors import require

# The first pieces of tokenizers that are trained.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# The kinds of tokenizers that can be trained.
TRAINED_TOKENIZERS = ("unigram", "bpe", "wordpiece", "word", "char")


@dataclasses.dataclass(frozen=True)
class DataConfig(CorpusConfig):
  """The corpus, or the sources, the tokenizer and the rows.

  Attributes:
    sources: corpora to read at once, in place of `corpus`, by their names.
    validation: corpora to evaluate on; documents of theirs are not trained on.
  """

  # fmt: off
  sources: Mapping[str, SourceConfig] = table()
  size_exponent: float = key(0.0,
    "Exponent of a source's size, by which its weight is multiplied. Sizes are "
    "in tokens: 1 reads all sources equally often, 0 leaves the weights as "
    "they are, and values in between favour the small ones (XLM, mT5).",
    scope="data", at_least=0, at_most=1)
  validation: Mapping[str, CorpusConfig] = table()
  on_bad_text: Literal["replace", "skip", "error"] = key("replace",
    "How to handle invalid text. That is bytes that are not UTF-8, NUL "
    "characters and unpaired surrogates. They are replaced by U+FFFD, or their "
    "documents skipped, both with a count of them, or they are an error that "
    "names file and line.",
    scope="data")
  hash_whole: bool = key(False,
    "Notice any change in files of over 4 MiB, by a hash of all of them. "
    "Otherwise their ends, length and time of change are looked at, which is "
    "faster.",
    scope="data")
  dedup: Literal["none", "exact", "minhash"] = key("none",
    "Duplicates to leave out: copies, or near copies, too. exact leaves out "
    "documents of equal text, minhash those that share most of their 5-grams "
    "with an earlier one of the same corpus. The first is kept.",
    scope="data")
  heldout_fraction: float = key(0.01,
    "Fraction of documents held out for evaluation. They are chosen by a hash "
    "of their text, and never trained on.",
    scope="data", at_least=0, below=1)
  tokenizer: str = key("bpe",
    "Tokenizer: trained on the corpus, or the path of one. unigram and bpe "
    "train a SentencePiece model; wordpiece is BERT's kind; word and char take "
    "the commonest words or characters. Anything else is the path of a "
    "SentencePiece .model, a tokenizer.json or a vocab.txt, or the model that "
    "was imported.",
    scope="weights")
  vocab_size: int = key(30_522,
    "Tokens of the vocabulary, special tokens included.",
    scope="weights", at_least=8)
  byte_fallback: bool = key(True,
    "Spell characters without a piece as bytes. Of unigram and bpe that are "
    "trained, it takes 256 pieces, which a small alphabet (amino acids, "
    "SMILES) has no need of; without them such characters are unknown.",
    scope="weights")
  special_tokens: str = key("",
    "Special tokens of one's own, with a tokenizer that is trained. Such as "
    "[USER],[SYSTEM], by commas: in a text each is one piece, and never "
    "predicted.",
    scope="weights")
  user_symbols: str = key("",
    "Symbols that are always a piece, with a tokenizer that is trained. Such "
    "as <br>,C++, by commas: they are predicted as others.",
    scope="weights")
  split_digits: bool = key(False,
    "Make a piece of each digit, with a tokenizer that is trained.",
    scope="weights")
  num_sentinels: int = key(0,
    "Sentinel tokens of a tokenizer that is trained. Each stands for a masked "
    "span (T5's <extra_id_0> and so on).",
    scope="weights", at_least=0)
  lowercase: bool = key(True,
    "Lowercase the text, with a tokenizer that is trained.",
    scope="weights")
  normalization: Literal["nmt_nfkc", "nfkc", "none"] = key("nmt_nfkc",
    "Unicode normalization, with a tokenizer that is trained. nfkc is that of "
    "the standard; nmt_nfkc also makes spaces of tabs, line breaks and of what "
    "has no width, such as the joiners of Persian words; none leaves the text "
    "as it is.",
    scope="weights")
  keep_whitespace: bool = key(False,
    "Keep line breaks, tabs and runs of spaces, as source code needs. "
    "Otherwise each is one space; it is for tokenizers that are trained.",
    scope="weights")
  tokenizer_sample_mb: int = key(100,
    "Megabytes of text that train the tokenizer, drawn from all of it. Of "
    "several sources, each has its weight's share.",
    scope="data", above=0)
  seq_len: int = key(512,
    "Length of a row, in tokens.",
    scope="data", at_least=8)
  packing: Literal["best_fit", "concat", "single"] = key("best_fit",
    "How documents are packed into rows. best_fit keeps documents whole where "
    "they fit, concat fills rows in order, single puts one piece of a document "
    "in a row.",
    scope="data")
  documents_per_row: int = key(0,
    "Most documents of a row, 0 for no limit. Attention kernels that take the "
    "lengths of documents want a bound on their number; single has one.",
    scope="data", at_least=0)
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
    check_separator("data.", self)
    self._check_sources()
    self._check_validation()
    _ = self.skipped_ranges  # Raises where they are malformed.
    require(
      self.tokenizer not in ("unigram", "bpe")
      or not self.byte_fallback
      or self.vocab_size >= 300 + self.num_sentinels,
      f"data.vocab_size={self.vocab_size} is too small: 256 bytes and the "
      f"special tokens alone take {261 + self.num_sentinels}. A small alphabet "
      "does without: data.byte_fallback=False",
    )
    require(
      self.normalization != "none" or not self.lowercase,
      "data.normalization='none' leaves the text as it is: set "
      "data.lowercase=False",
    )
    require(
      not self.keep_whitespace or self.normalization != "nmt_nfkc",
      "data.normalization='nmt_nfkc' makes spaces of line breaks and tabs, "
      "which data.keep_whitespace keeps: set it to 'nfkc' or 'none'",
    )

    require(
      not self.keep_whitespace or self.tokenizer not in ("wordpiece", "word"),
      f"data.tokenizer={self.tokenizer!r} has no pieces for whitespace, which "
      "data.keep_whitespace keeps: use 'unigram', 'bpe' or 'char'",
    )
    for name in ("special_tokens", "user_symbols", "split_digits"):
      value = getattr(self, name)
      require(
        not value or self.trains_tokenizer,
        f"data.{name}={value!r} has no effect on a tokenizer that is there: "
        f"data.tokenizer={self.tokenizer!r}",
      )
    symbols = [*self.own_special_tokens, *self.own_symbols]
    taken = [
      s for s in symbols if s in SPECIAL_TOKENS or s.startswith("<extra_id_")
    ]
    require(
      not taken,
      f"data.special_tokens and data.user_symbols cannot hold {taken}, which "
      "every tokenizer has",
    )
    require(
      len(symbols) == len(set(symbols)) and all(symbols),
      f"data.special_tokens={self.special_tokens!r} and data.user_symbols="
      f"{self.user_symbols!r} must list different symbols, by commas",
    )

  @property
  def trains_tokenizer(self) -> bool:
    """True if the tokenizer is trained on the corpus."""
    return self.tokenizer in TRAINED_TOKENIZERS

  @property
  def own_special_tokens(self) -> list[str]:
    """The tokens of `special_tokens`."""
    return _listed(self.special_tokens)

  @property
  def own_symbols(self) -> list[str]:
    """The symbols of `user_symbols`."""
    return _listed(self.user_symbols)

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

  @property
  def corpora(self) -> dict[str, "DataConfig"]:
    """The configuration of the rows of each source that has a weight.

    That of `corpus` alone is called "".
    """
    if not self.sources:
      return {"": self}
    return {
      name: self._of_corpus(source)
      for name, source in self.sources.items()
      if source.weight
    }

  def source_weights(self, sizes: Mapping[str, float]) -> dict[str, float]:
    """Returns the weights of sources, scaled as `size_exponent` says.

    Args:
      sizes: by name, all in the same unit; that of `corpus` is called "".
    """
    sources, exponent = self.sources, self.size_exponent
    if not sources:
      return dict.fromkeys(sizes, 1.0)
    return {
      name: sources[name].weight * size**exponent
      for name, size in sizes.items()
    }

  @property
  def validation_corpora(self) -> dict[str, "DataConfig"]:
    """The configuration of the rows of each validation corpus."""
    return {
      name: self.evaluating(corpus) for name, corpus in self.validation.items()
    }

  def evaluating(self, corpus: CorpusConfig) -> "DataConfig":
    """Returns the configuration of rows of a corpus that is evaluated on."""
    return self._of_corpus(
      corpus, validation={}, heldout_fraction=0.0, dedup="none"
    )

  def _of_corpus(self, corpus: CorpusConfig, **changes) -> "DataConfig":
    own = {name: getattr(corpus, name) for name in keys_of(CorpusConfig)}
    return dataclasses.replace(self, sources={}, **own, **changes)

  @property
  def is_evaluated(self) -> bool:
    """True if there is text to evaluate on: held out, or of one's own."""
    return bool(self.heldout_fraction or self.validation)

  def _check_sources(self):
    require(
      not (self.sources and self.corpus),
      f"data.corpus={self.corpus!r} and data.sources "
      f"({', '.join(self.sources)}) exclude each other: make it a source, or "
      "leave one of them out",
    )
    for name, declared in keys_of(CorpusConfig).items():
      value = getattr(self, name)
      require(
        not self.sources or value == declared.default,
        f"data.{name}={value!r} has no effect beside data.sources: set "
        f"data.sources.NAME.{name}",
      )
    names = {}
    for name, source in self.sources.items():
      check_corpus("data.sources", name, source)
      text = tuple(getattr(source, key) for key in keys_of(CorpusConfig))
      require(
        text not in names,
        f"data.sources.{name} is the same text as data.sources."
        f"{names.get(text)}: give one of them the weight of both",
      )
      names[text] = name
    require(
      not self.sources or any(s.weight for s in self.sources.values()),
      "data.sources: the weights of all sources are 0, so there is nothing to "
      "train on",
    )

  def _check_validation(self):
    trained_on = {s.corpus for s in (self, *self.sources.values())}
    for name, corpus in self.validation.items():
      check_corpus("data.validation", name, corpus)
      require(
        corpus.corpus not in trained_on,
        f"data.validation.{name}.corpus={corpus.corpus!r} is trained on, too, "
        "so that no document of it would be left: hold out some of it by "
        "data.heldout_fraction",
      )


def _listed(value: str) -> list[str]:
  """Returns what a value lists, by commas."""
  return [part.strip() for part in value.split(",")] if value else []
