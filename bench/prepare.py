"""Times `prepare`, text to packed rows on disk, and its peak memory.

  python bench/prepare.py [--megabytes 32,128] [--corpus text:my/*.txt] \
      [--seq_len 512] [--vocab_size 8192] [--packing best_fit] [--json] [--peer]

For each size, one process writes the corpus, one trains the tokenizer, and one
prepares the rows: rate and peak memory are those of the last one. A MB is 10^6
bytes of text. The memory should not depend on the size. Without --corpus, the
text is sampled from the paragraphs of this Python's documentation: real words
without a download.

With --peer, Hugging Face's datasets prepares the same text by the same
tokenizer.json, in as many processes as there are cores: map(tokenizer), and
group_texts of its examples, which cuts the concatenated text at each row's end.
"""

import argparse
import concurrent.futures
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import pathlib
import platform
import random
import resource
import statistics
import sys
import tempfile
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"

# mlm_jax is imported where it is used. A child's ru_maxrss starts at its
# parent's memory, so the parent has to stay small.


def alone(function, *args):
  """Returns function(*args), called in a new process."""
  with concurrent.futures.ProcessPoolExecutor(
    1, mp_context=multiprocessing.get_context("spawn")
  ) as pool:
    return pool.submit(function, *args).result()


def write_corpus(path, num_bytes, seed=0):
  from mlm_jax.data import python_docs

  paragraphs = [
    paragraph
    for _, text in python_docs.documents()
    for paragraph in text.split("\n\n")
    if paragraph.strip()
  ]
  rng = random.Random(seed)
  with open(path, "wb") as file:
    while file.tell() < num_bytes:
      document = rng.choices(paragraphs, k=rng.randint(1, 20))
      file.write(("\n".join(document) + "\n\n").encode())


def our_config(args, corpus, **data):
  from mlm_jax import config as config_lib

  config = config_lib.default()
  config.data.update(
    corpus=corpus,
    seq_len=args.seq_len,
    vocab_size=args.vocab_size,
    packing=args.packing,
    **data,
  )
  config.model.max_positions = max(512, args.seq_len)
  config.train.batch_size = 1  # prepare requires rows for one batch.
  return config_lib.build(config)


def train_tokenizer(args, corpus, path):
  """Returns seconds to train, peak memory in MB, and MB of text."""
  from mlm_jax.data import sources, tokenizers
  from mlm_jax.data.write_rows import sampled

  data = our_config(args, corpus).data
  start = time.perf_counter()
  budget = data.tokenizer_sample_mb << 20
  sample, _ = sampled(sources.read_documents(data), budget)
  model = tokenizers.train(sample, data).model
  seconds, peak = time.perf_counter() - start, peak_megabytes()
  path.write_bytes(model)
  documents = sources.read_documents(data)
  return seconds, peak, sum(len(text.encode()) for text in documents) / 1e6


def train_tokenizer_json(args, corpus, path):
  """Trains byte-level BPE, as the peer's users have it."""
  import tokenizers
  from tokenizers import decoders, models, pre_tokenizers, trainers

  from mlm_jax.data import sources

  made = tokenizers.Tokenizer(models.BPE())
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=args.vocab_size,
    special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  documents = sources.read_documents(our_config(args, corpus).data)
  made.train_from_iterator(documents, trainer)
  made.save(str(path))


def prepare_by_datasets(args, corpus, tokenizer, folder):
  """Returns the seconds, and the number of tokens in rows."""
  os.environ["TOKENIZERS_PARALLELISM"] = "false"
  import datasets
  import transformers

  datasets.disable_progress_bars()
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(tokenizer), model_max_length=10**9
  )

  def tokenize(examples):
    return tokenizer(examples["text"], return_attention_mask=False)

  def group_texts(examples):
    ids = list(itertools.chain.from_iterable(examples["input_ids"]))
    total = len(ids) // args.seq_len * args.seq_len
    rows = [ids[n : n + args.seq_len] for n in range(0, total, args.seq_len)]
    return {"input_ids": rows}

  start = time.perf_counter()
  dataset = datasets.load_dataset(
    "text",
    data_files=corpus.partition(":")[2],
    sample_by="paragraph",
    split="train",
    cache_dir=str(folder),
  )
  processes = os.cpu_count()
  dataset = dataset.map(
    tokenize, batched=True, num_proc=processes, remove_columns=["text"]
  )
  dataset = dataset.map(group_texts, batched=True, num_proc=processes)
  return time.perf_counter() - start, len(dataset) * args.seq_len


def beside_datasets(args, megabytes):
  """Returns the seconds of both sides."""
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    alone(write_corpus, folder / "corpus.txt", megabytes * 10**6)
    corpus, tokenizer = f"text:{folder}/corpus.txt", folder / "tokenizer.json"
    alone(train_tokenizer_json, args, corpus, tokenizer)
    ours, theirs = [], []
    for number in range(3):
      one, _, info = alone(
        prepare_rows, args, corpus, tokenizer, folder / f"ours{number}"
      )
      other, tokens = alone(
        prepare_by_datasets, args, corpus, tokenizer, folder / f"hf{number}"
      )
      ours.append(one)
      theirs.append(other)
  return {
    "megabytes": megabytes,
    "seconds": round(statistics.median(ours), 1),
    "their_seconds": round(statistics.median(theirs), 1),
    "times_as_fast": round(
      statistics.median(theirs) / statistics.median(ours), 2
    ),
    "tokens": info.tokens,
    "their_tokens": tokens,
  }


def prepare_rows(args, corpus, tokenizer, workdir):
  """Returns the seconds, the peak memory in MB, and the rows' SplitInfo."""
  from mlm_jax.data.prepare import prepare
  from mlm_jax.workdir import Workdir

  config = our_config(args, corpus, tokenizer=str(tokenizer))
  times = []
  # prepare reports the start and the end of writing rows, and then what it
  # found in the text.
  _, stores = prepare(
    config,
    Workdir.at(workdir),
    say=lambda line: times.append(time.perf_counter()),
  )
  start, stop, *_ = times
  return stop - start, peak_megabytes(), stores.sources[""].info["train"]


def peak_megabytes():
  """Returns that of this process, and of as many children as have the most."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
  peak += os.cpu_count() * children
  kilobyte = 1 if sys.platform == "darwin" else 1024
  return round(peak * kilobyte / 1e6)


def measure(args, megabytes=None):
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    corpus = args.corpus
    if not corpus:
      alone(write_corpus, folder / "corpus.txt", megabytes * 10**6)
      corpus = f"text:{folder}/corpus.txt"
    tokenizer = folder / "spm.model"
    training, tokenizer_peak, size = alone(
      train_tokenizer, args, corpus, tokenizer
    )
    seconds, peak, info = alone(
      prepare_rows, args, corpus, tokenizer, folder / "workdir"
    )
  return {
    "megabytes": round(size, 1),
    "tokenizer_seconds": round(training, 1),
    "rows_seconds": round(seconds, 1),
    "megabytes_per_second": round(size / seconds, 2),
    "tokens_per_second": round(info.tokens / seconds),
    "fill": info.fill,
    "peak_megabytes": peak,
    "tokenizer_peak_megabytes": tokenizer_peak,
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--corpus", default="", help="as config.data.corpus")
  parser.add_argument("--megabytes", default="64", help="sizes, by commas")
  parser.add_argument("--seq_len", type=int, default=512)
  parser.add_argument("--vocab_size", type=int, default=8192)
  parser.add_argument("--packing", default="best_fit")
  parser.add_argument("--json", action="store_true")
  parser.add_argument("--peer", action="store_true")
  args = parser.parse_args()
  if args.peer:
    for size in args.megabytes.split(","):
      print(json.dumps(beside_datasets(args, int(size))))
    return
  if args.corpus:
    rows = [measure(args)]
  else:
    rows = [measure(args, int(size)) for size in args.megabytes.split(",")]
  machine = {
    "cores": os.cpu_count(),
    "python": platform.python_version(),
    **{
      name: importlib.metadata.version(name)
      for name in ("sentencepiece", "tensorstore")
    },
  }
  if args.json:
    print(json.dumps({"machine": machine, "rows": rows}, indent=2))
    return
  print("  ".join(f"{k} {v}" for k, v in machine.items()))
  for row in rows:
    print(
      f"{row['megabytes']:>7} MB  rows {row['megabytes_per_second']} MB/s  "
      f"{row['tokens_per_second'] / 1e6:.2f} M tokens/s  "
      f"{row['fill']:.2%} full  tokenizer {row['tokenizer_seconds']} s  "
      f"peak memory {row['peak_megabytes']} MB, "
      f"of the tokenizer's training {row['tokenizer_peak_megabytes']} MB"
    )


if __name__ == "__main__":
  main()
