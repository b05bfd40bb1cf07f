"""Looks at text, rows and loader before a long run, on a sample of the corpus.

The sample is prepared as the corpus would be, by the same code. It is drawn
from files that are spread over each source.
"""

import contextlib
import dataclasses
import io
import json
import math
import shutil
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from etils import epath

from mlm_jax import objectives
from mlm_jax.config import Config, DataConfig, SourceConfig
from mlm_jax.data import (
  blocks,
  checkup,
  corruption,
  pipeline,
  prepare,
  records,
  sample,
)
from mlm_jax.data.checkup import Finding, level
from mlm_jax.data.host_tensorflow import iterate, tf
from mlm_jax.data.rows import Stores
from mlm_jax.data.sample import Sample
from mlm_jax.data.stream import Stream
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError
from mlm_jax.phases import Recipe
from mlm_jax.tools import tpus
from mlm_jax.training import hardware
from mlm_jax.workdir import Workdir

# For which batches are read to measure the loader.
_SECONDS = 4.0
# The utilisation at which the tokens that chips take are counted.
_UTILISATION = 0.5
# Repetitions up to which text is nearly as good as new (Muennighoff et al.
# 2023).
_MOST_EPOCHS = 4


def examine(
  recipe: Recipe, workdir: Workdir | None, topology: str = ""
) -> Iterator[Finding]:
  """Yields what is found, from the text to the rows and how they are read.

  Text and rows are those of the first phase; epochs are of all phases.

  Args:
    recipe: what is to be trained.
    workdir: where it would be; its tokenizer is taken if it has one.
    topology: the TPU slice whose throughput the loader is compared with.
  """
  config = recipe.phases[0].config
  samples = {}
  for name, data in config.data.corpora.items():
    try:
      samples[name] = sample.read(data, len(config.data.corpora))
    except InputError as error:
      yield Finding("stop", _called("text", name), str(error))
      return
    yield from _text_findings(name, samples[name])
  with tempfile.TemporaryDirectory() as folder:
    try:
      small = _of_sample(config, samples, epath.Path(folder), workdir)
      tokenizer, stores = _prepare(small, epath.Path(folder) / "work")
    except InputError as error:
      is_whole = all(s.is_whole for s in samples.values())
      text = str(error) if is_whole else f"of the sample alone: {error}"
      yield Finding("stop" if is_whole else "look", "rows", text)
      return
    yield from _token_findings(small, tokenizer, stores, samples)
    yield from checkup.of_rows(small, stores, tokenizer.vocabulary)
    yield from _heldout(config, samples)
    yield from _length_findings(recipe, stores, samples, workdir)
    yield _first_loss(tokenizer, stores)
    as_trained = dataclasses.replace(small, train=config.train)
    yield _loader(as_trained, stores, tokenizer, topology)
    yield _examples(small, stores, tokenizer)


def _called(what: str, name: str) -> str:
  return f"{what} {name}".rstrip()


def _text_findings(name: str, found: Sample) -> Iterator[Finding]:
  of = "all of it"
  if found.characters is None:
    of = "its beginning"
  elif not found.is_whole:
    of = f"of about {_short(found.characters)} characters"
  count = len(found.documents)
  lengths = np.array([len(text) for text in found.documents])
  p5, p50, p95 = np.percentile(lengths, [5, 50, 95]).astype(int)
  yield Finding(
    "look" if count < 20 or p50 < 40 else "ok",
    _called("documents", name),
    f"{count:,} in {_short(found.size)} characters, {of}; lengths in "
    f"characters: 5% {p5:,}, half {p50:,}, 95% {p95:,}, longest "
    f"{lengths.max():,}"
    + ("; does data.document_boundary fit?" if count < 20 else ""),
    {"documents": count, "characters": found.size, "total": found.characters},
  )
  share = 1 - len({blocks.digest(text) for text in found.documents}) / count
  yield Finding(
    level(share, 0.05),
    _called("duplicate documents", name),
    f"{share:.1%} of the sample" if share else "none in the sample",
    {"share": share},
  )
  report = found.report
  if report.bad or report.nulls:
    text = f"{report.bad:,} documents with invalid text ({report.first_bad})"
    yield Finding(
      "look",
      _called("bad text", name),
      f"{text}; {report.nulls:,} examples without a text",
      {"bad": report.bad, "nulls": report.nulls},
    )


def _of_sample(
  config: Config, samples: dict[str, Sample], folder, workdir: Workdir | None
) -> Config:
  """Writes the sample down; returns a configuration that reads it."""
  found = {}
  for name, of_source in samples.items():
    path = folder / f"{name or 'corpus'}.jsonl"
    with path.open("w") as file:
      for text in of_source.documents:
        file.write(json.dumps({"text": text}) + "\n")
    weight = config.data.sources[name].weight if name else 1.0
    found[name] = SourceConfig(f"jsonl:{path}", weight=weight)
  changes = {"validation": {}, "rows_dir": "", "size_exponent": 0.0}
  changes["heldout_fraction"] = 0.0  # Of a sample, there may be none.
  if "" in found:
    changes |= {"corpus": found[""].corpus, "text_field": "text"}
    changes |= {"document_boundary": "blank_line", "document_separator": ""}
  else:
    changes["sources"] = found
  if workdir and workdir.tokenizer.exists():
    changes["tokenizer"] = str(workdir.tokenizer)
    changes |= {"special_tokens": "", "user_symbols": "", "split_digits": False}
  data = dataclasses.replace(config.data, skip_rows="", **changes)
  train = dataclasses.replace(
    config.train, batch_size=8, microbatches=1, initial_batch_size=0
  )
  return dataclasses.replace(config, data=data, train=train)


def _prepare(config: Config, folder) -> tuple[Tokenizer, Stores]:
  with contextlib.redirect_stdout(io.StringIO()):  # Of the progress.
    return prepare.prepare(config, Workdir.at(folder), lambda line: None)


def _token_findings(
  config: Config,
  tokenizer: Tokenizer,
  stores: Stores,
  samples: dict[str, Sample],
) -> Iterator[Finding]:
  seen = np.zeros(tokenizer.vocabulary.size, bool)
  for name, store in stores.sources.items():
    info, texts = store.info["train"], samples[name].documents
    words = sum(len(text.split()) for text in texts)
    share = info.bytes / sum(len(text.encode()) for text in texts)
    a_word = info.tokens / max(1, share * words)
    a_token = info.bytes / max(1, info.tokens)
    yield Finding(
      "look" if a_token < 2 else "ok",
      _called("tokens", name),
      f"{a_token:.2f} bytes a token, {a_word:.2f} tokens between spaces",
      {"bytes_per_token": a_token, "tokens_per_word": a_word},
    )
    is_packed = config.data.packing != "single"
    yield Finding(
      "look" if is_packed and info.fill < 0.95 else "ok",
      _called("rows", name),
      f"{info.fill:.2%} full, {info.cut_share:.1%} of the documents cut",
      {"fill": info.fill, "cut": info.cut_share},
    )
    rows = store.read("train", np.arange(min(info.num_rows, 1 << 14)))
    seen[np.unique(rows)] = True
  is_ordinary = tokenizer.vocabulary.is_ordinary
  unseen = float(np.mean(~seen[is_ordinary]))
  trained = "trained on the sample" if config.data.trains_tokenizer else "given"
  yield Finding(
    level(unseen, 0.3),
    "vocabulary",
    f"{tokenizer.vocabulary.size:,} pieces ({trained}), mask "
    f"{tokenizer.mask_token}; {unseen:.1%} of the pieces do not occur in the "
    "sample",
    {"size": tokenizer.vocabulary.size, "unseen": unseen},
  )


def _heldout(config: Config, samples: dict[str, Sample]) -> Iterator[Finding]:
  """Yields how many documents are held out, of all that there are."""
  fraction = config.data.heldout_fraction
  if not fraction or any(s.characters is None for s in samples.values()):
    return
  count = sum(
    fraction * len(s.documents) * s.characters / s.size
    for s in samples.values()
  )
  yield Finding(
    level(1 / max(count, 1e-9), 1 / 20, 1),
    "held-out documents",
    f"about {count:,.0f}: data.heldout_fraction={fraction}",
    {"documents": count},
  )


def _length_findings(
  recipe: Recipe,
  stores: Stores,
  samples: dict[str, Sample],
  workdir: Workdir | None,
) -> Iterator[Finding]:
  """Yields the epochs of each source, and the disk that rows take."""
  tokens, bytes_a_token = {}, {}
  for name, store in stores.sources.items():
    info, total = store.info["train"], samples[name].characters
    tokens[name] = total and info.tokens * total / samples[name].size
    size = sum(f.stat().length for f in _files(store.path / "train"))
    bytes_a_token[name] = size / max(1, info.tokens)
  if None in tokens.values():
    yield Finding(
      "look", "length", "unknown: the format does not say how long the text is"
    )
    return
  data = recipe.phases[0].config.data
  rows = {
    name: store.info["train"].num_rows
    * samples[name].characters
    / samples[name].size
    for name, store in stores.sources.items()
  }
  needed = sum(count * bytes_a_token[name] for name, count in tokens.items())
  root = records.rows_root(data, workdir or Workdir.at("."))
  free = None if "://" in str(root) else _free(root)
  yield Finding(
    "ok" if free is None else level(needed / max(1, free), 0.5, 1.0),
    "disk",
    f"rows take about {_short(needed)}B"
    + ("" if free is None else f", {_short(free)}B are free"),
    {"needed": needed, "free": free},
  )
  if any(phase.config.train.hours for phase in recipe.phases):
    return
  epochs = dict.fromkeys(rows, 0.0)
  for phase in recipe.phases:
    config = phase.config
    shares = _shares(config.data, tokens)
    for name, share in shares.items():
      in_rows = rows.get(name, math.inf) * data.seq_len / config.data.seq_len
      epochs[name] = epochs.get(name, 0.0) + (
        share * config.timeline.num_rows / in_rows
      )
  for name, count in epochs.items():
    yield Finding(
      level(count, _MOST_EPOCHS),
      _called("epochs", name),
      f"{count:.3g} over all phases, of about {_short(tokens[name])} tokens",
      {"epochs": count, "tokens": tokens[name], "rows": rows[name]},
    )


def _shares(data: DataConfig, tokens: dict[str, float]) -> dict[str, float]:
  """Returns the share that each source has of a phase's rows."""
  # A source that only a later phase has is not sampled: it gets a mean size.
  mean = sum(tokens.values()) / len(tokens)
  names = data.sources or tokens
  weights = data.source_weights({n: tokens.get(n, mean) for n in names})
  total = sum(weights.values())
  return {name: weights[name] / total for name in tokens if name in weights}


def _first_loss(tokenizer: Tokenizer, stores: Stores) -> Finding:
  infos = [store.info["train"] for store in stores.sources.values()]
  total = max(1, sum(info.tokens for info in infos))
  entropy = sum(info.tokens * info.unigram_entropy for info in infos) / total
  first = math.log(tokenizer.vocabulary.size)
  return Finding(
    "ok",
    "loss",
    f"begins near {first:.2f} nats (ln V); {entropy:.2f} is what predicting by "
    "token frequency alone costs, and what to get under",
    {"first": first, "unigram_entropy": entropy},
  )


def _loader(
  config: Config, stores: Stores, tokenizer: Tokenizer, topology: str
) -> Finding:
  """Measures how fast batches are made, and compares it with a need."""
  vocab = tokenizer.vocabulary
  batches = iterate(
    pipeline.train_batches(config, Stream(config, stores.sources), vocab)
  )
  next(batches)
  count, start = 0, time.perf_counter()
  for batch in batches:
    count += batch["input_ids"].size
    if time.perf_counter() - start > _SECONDS:
      break
  rate = count / (time.perf_counter() - start)
  values = {"tokens_per_second": round(rate)}
  text = f"{_short(rate)} tokens/s on this machine"
  found: checkup.Level = "ok"
  if topology:
    flops = objectives.bind(config, vocab).flops_per_token
    needed = _UTILISATION * _peak(topology) / flops
    values["needed"] = round(needed)
    found = "ok" if rate > needed else "look"
    text += (
      f"; {topology} takes {_short(needed)} at a utilisation of "
      f"{_UTILISATION:.0%}, from all its hosts"
    )
  return Finding(found, "loader", text, values)


def _peak(topology: str) -> float:
  """Returns the FLOP/s of all chips of a slice."""
  generation = topology.partition(":")[0]
  kind = "TPU7x" if generation == "tpu7x" else f"TPU {generation}"
  devices_a_chip = 2 if generation in ("v2", "v3", "tpu7x") else 1
  return hardware.peak_of(kind) * devices_a_chip * tpus.num_chips(topology)


def _examples(config: Config, stores: Stores, tokenizer: Tokenizer) -> Finding:
  """Shows the beginning of three rows, and what the model reads of them."""
  stream = Stream(config, stores.sources)
  batch = next(
    iterate(pipeline.train_batches(config, stream, tokenizer.vocabulary))
  )
  rows = stream.rows(tf.range(3, dtype=tf.int64))
  rows_BL = stream.read(*(one.numpy() for one in rows))
  lines = []
  for row, ids in zip(rows_BL, batch["input_ids"], strict=False):
    for title, shown in (("row", row), ("read as", ids)):
      text = "".join(tokenizer.display_text(int(i)) for i in shown[:48])
      lines.append(f"{title:<8}{text.strip()[:140]}")
  return Finding(
    "ok",
    "examples",
    "\n".join([corruption.bind(config.corruption).describe(), *lines]),
  )


def _files(path) -> Iterator:
  for found in path.iterdir():
    if found.is_dir():
      yield from _files(found)
    else:
      yield found


def _free(root) -> int:
  while not root.exists():
    root = root.parent
  return shutil.disk_usage(root).free


def _short(number: float) -> str:
  """Returns a count such as 12.3M."""
  for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
    if number >= size:
      return f"{number / size:.3g}{unit}"
  return f"{number:.3g}"
