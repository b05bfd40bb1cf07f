"""Times our input pipeline against Hugging Face's collator in a DataLoader.

  python bench/pipeline.py [--seq_len 512] [--batch_size 256] [--rows 16384] \
      [--rounds 5] [--json]

From rows on disk to masked batches: 15% of the tokens, 80/10/10, shuffled. Both
sides read the same synthetic rows, ours from a row store, theirs from a memory
map of a .npy file. In each round, every side runs one epoch; nothing is
prefetched between them, and medians are compared. The sides:

  mlm_jax               a newly opened store: every row is decompressed
  mlm_jax, cached       the store's chunks are decoded already (small corpora)
  KIND                  the first, with another corruption; those of sentence
                        pairs split rows, which count as one document
  examples, N workers   DataCollatorForLanguageModeling on its documented input,
                        dicts of input_ids and special_tokens_mask
  tensors, N workers    the same on ids alone, whose special tokens it finds
  stacked, N workers    not the collator, only its masking on stacked rows: the
                        fastest that users can write around it

torch runs single-threaded, as in a worker; more threads are slower here.
Without torch or transformers only our side runs, without TensorFlow only
theirs.
"""

import argparse
import collections
import dataclasses
import functools
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import tempfile
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

import numpy as np
from etils import epath

from mlm_jax import config as config_lib
from mlm_jax import registry
from mlm_jax.config.corruption import NOISES
from mlm_jax.vocabulary import Vocabulary

# Three pieces of four begin a word, as of English; one of twenty ends a
# sentence.
VOCAB = Vocabulary(
  size=30_522,
  pad_id=0,
  unk_id=1,
  start_id=2,
  end_id=3,
  mask_id=4,
  other_special_ids=tuple(range(5, 105)),
  sentinel_ids=tuple(range(5, 105)),
  starts_word=np.arange(30_522) % 4 > 0,
  stops=(np.arange(30_522) % 20 == 10).astype(np.int8),
)

# By the task of a corruption.
OBJECTIVES = {
  "fill_masks": "mlm",
  "predict_next": "causal_lm",
  "generate": "seq2seq",
  "fill_decoder_masks": "cmlm",
}

N_GRAMS = {"kind": "spans", "span_law": "inverse", "max_span": 3}

CORRUPTIONS = {
  "electra": {"mask_share": 0.85, "random_share": 0.0},
  "whole_words": {"kind": "whole_words"},
  "spans": {"kind": "spans"},
  "n-grams": N_GRAMS,
  "any number": {"kind": "uniform_mask_rate"},
  "nsp": {"sentence_pairs": "nsp"},
  "n-grams, sop": {"sentence_pairs": "sop", **N_GRAMS},
  "next_token": {"kind": "next_token"},
  "prefix": {"kind": "prefix"},
  "mixture": {"next_token_share": 0.25, "prefix_share": 0.25},
  "t5": {"kind": "span_corruption"},
  **{
    f"bart, {noise}": {"kind": "bart", "mask_rate": 0.3, "noises": noise}
    for noise in NOISES
  },
  "bart": {"kind": "bart", "mask_rate": 0.3},
  "mass": {"kind": "mass", "mask_rate": 0.5},
  "cmlm": {"kind": "cmlm", "mask_rate": 0.3, "noises": "text_infilling"},
}


def make_rows(num_rows, seq_len, seed=0):
  """Returns rows of two or three pieces [start ... end] of Zipf's words."""
  rng = np.random.default_rng(seed)
  first = len(VOCAB.special_ids)
  zipf = 1 / np.arange(1, VOCAB.size - first + 1)
  words = first + rng.choice(
    len(zipf), [num_rows, seq_len], p=zipf / zipf.sum()
  )
  rows = words.astype(np.int32)
  for row in rows:
    pieces = rng.integers(2, 4)
    cuts = seq_len * np.arange(1, pieces) // pieces
    cuts += rng.integers(-(seq_len // 10), seq_len // 10 + 1, pieces - 1)
    stop = seq_len - rng.integers(0, 8)  # Packed rows are nearly full.
    row[[0, *cuts]] = VOCAB.start_id
    row[[*(cuts - 1), stop - 1]] = VOCAB.end_id
    row[stop:] = VOCAB.pad_id
  return rows


def our_sides(path, rows, batch_size):
  """Returns name -> function that makes the iterable of an epoch's batches."""
  from mlm_jax.data import pipeline, row_writer
  from mlm_jax.data import rows as rows_lib
  from mlm_jax.data.stream import Stream

  counts = {}
  for split, count in (("train", len(rows)), ("heldout", 1)):
    writer = row_writer.SplitWriter(path, split, rows.shape[1], VOCAB)
    collections.deque(map(writer.append, rows[:count]), maxlen=0)
    counts[split] = writer.finish()
  row_writer.finish_store(path, rows.shape[1], VOCAB, [(0, counts)])
  config = config_lib.default()
  config.data.update(vocab_size=VOCAB.size, seq_len=rows.shape[1])
  config.data.packing = "single"  # Sentence pairs require it.
  config.model.max_positions = max(512, rows.shape[1])
  config.train.update(steps=len(rows) // batch_size, batch_size=batch_size)
  config.optim.warmup_steps = 0
  config = config_lib.build(config)
  open_stream = lambda config: Stream(config, {"": rows_lib.RowStore(path)})
  fresh = lambda config: pipeline.train_batches(
    config, open_stream(config), VOCAB
  )
  cached = fresh(config)
  sides = {"mlm_jax": functools.partial(fresh, config)}
  sides["mlm_jax, cached"] = lambda: cached
  for name, options in CORRUPTIONS.items():
    sides[name] = functools.partial(fresh, with_corruption(config, options))
  return sides


def with_corruption(config, options):
  """Returns a configuration with an objective that takes this corruption."""
  corruption = dataclasses.replace(config.corruption, **options)
  name = OBJECTIVES[registry.CORRUPTIONS[corruption.kind].task]
  if corruption.causal_row_share:
    name = "mixture"
  layers = int(registry.OBJECTIVES[name].has_decoder)
  return dataclasses.replace(
    config,
    corruption=corruption,
    objective=dataclasses.replace(config.objective, name=name),
    model=dataclasses.replace(config.model, num_decoder_layers=layers),
    data=dataclasses.replace(config.data, num_sentinels=100),
  )


class MappedRows:
  """A map-style torch Dataset over a .npy file."""

  def __init__(self, path, item):
    self.rows_NL, self.item = np.load(path, mmap_mode="r"), item

  def __len__(self):
    return len(self.rows_NL)

  def __getitem__(self, index):
    return self.item(self.rows_NL[index])


def peer_sides(path, rows, batch_size):
  import torch
  import transformers

  torch.set_num_threads(1)
  np.save(path, rows)
  collator = transformers.DataCollatorForLanguageModeling(
    peer_tokenizer(), mlm_probability=0.15
  )
  is_special = lambda ids: ids < len(VOCAB.special_ids)
  tensor = lambda row_L: torch.from_numpy(row_L.astype(np.int64))

  def example(row_L):
    ids_L = tensor(row_L)
    return {"input_ids": ids_L, "special_tokens_mask": is_special(ids_L)}

  def stack(rows_of_L):
    ids_BL = torch.stack(rows_of_L)
    return collator.torch_mask_tokens(ids_BL, is_special(ids_BL))

  sides = {
    f"{kind}, {workers} workers": torch.utils.data.DataLoader(
      MappedRows(path, item),
      batch_size,
      shuffle=True,
      drop_last=True,
      collate_fn=collate,
      num_workers=workers,
      persistent_workers=workers > 0,
    )
    for workers in (0, 2)
    for kind, item, collate in (
      ("examples", example, collator),
      ("tensors", tensor, collator),
      ("stacked", tensor, stack),
    )
  }
  for loader in sides.values():
    next(iter(loader))  # Forks the workers before TensorFlow starts threads.
  return {side: lambda loader=loader: loader for side, loader in sides.items()}


def peer_tokenizer():
  import tokenizers
  import transformers

  names = ("pad", "unk", "cls", "sep", "mask")
  special = {f"{name}_token": f"[{name.upper()}]" for name in names}
  words = [*special.values(), *map(str, range(len(special), VOCAB.size))]
  ids = {word: i for i, word in enumerate(words)}
  model = tokenizers.models.WordLevel(ids, unk_token="[UNK]")
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizers.Tokenizer(model), **special
  )


def measure(folder, args):
  rows = make_rows(args.rows, args.seq_len)
  sides = {}
  for make, name in ((peer_sides, "rows.npy"), (our_sides, "store")):
    try:
      sides = {**make(folder / name, rows, args.batch_size), **sides}
    except ImportError as error:
      print(f"not measured: {error}", file=sys.stderr)
  times = {side: [] for side in sides}
  for turn in range(args.rounds + 1):
    for side, make in sides.items():
      batches = make()
      start = time.perf_counter()
      collections.deque(batches, maxlen=0)
      if turn:  # The first round warms up.
        times[side].append(time.perf_counter() - start)
  tokens = args.rows // args.batch_size * args.batch_size * args.seq_len
  return {s: round(tokens / statistics.median(t)) for s, t in times.items()}


def ratio_to_best(rates, *kinds):
  """Returns the speed of a newly opened store over the best of these sides."""
  peers = [rate for side, rate in rates.items() if side.startswith(kinds)]
  both = peers and "mlm_jax" in rates
  return round(rates["mlm_jax"] / max(peers), 2) if both else None


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  sizes = {"seq_len": 512, "batch_size": 256, "rows": 16_384, "rounds": 5}
  for name, default in sizes.items():
    parser.add_argument(f"--{name}", type=int, default=default)
  parser.add_argument("--json", action="store_true")
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    rates = measure(epath.Path(folder), args)
  result = {
    "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
    "tokens_per_second": rates,
    "ratio_to_best_loader": ratio_to_best(
      rates, "examples", "tensors", "stacked"
    ),
    "ratio_to_best_collator": ratio_to_best(rates, "examples", "tensors"),
    "ratio": ratio_to_best(rates, "examples, 2 workers"),
  }
  for name in ("tensorflow", "tensorstore", "torch", "transformers"):
    if sys.modules.get(name):
      # TensorStore has no __version__; TensorFlow's package has many names.
      version = getattr(sys.modules[name], "__version__", None)
      version = version or importlib.metadata.version(name)
      result["machine"][name] = version
  if args.json:
    print(json.dumps(result, indent=2))
    return
  print("  ".join(f"{k} {v}" for k, v in result["machine"].items()))
  for side, rate in rates.items():
    print(f"{side:<27} {rate / 1e6:8.2f} M tokens/s")
  if result["ratio"]:
    print(f"ratio to the best loader: {result['ratio_to_best_loader']:.1f}")
    print(f"ratio to the best collator: {result['ratio_to_best_collator']:.1f}")
    print(f"ratio to the collator, 2 workers: {result['ratio']:.1f}")


if __name__ == "__main__":
  main()
