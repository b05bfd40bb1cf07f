"""Compares our tokenizers with the tokenizer.json that they export.

  python bench/tokenizer_json.py FILE... [--vocab_size 8192]

Trains BPE and unigram models, cased and lowercase, on text files, and compares
the ids of every line, their decoded text, and the speed. Exits with 1 if any
line differs.
"""

import argparse
import importlib.metadata
import os
import pathlib
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from mlm_jax.config import DataConfig
from mlm_jax.data import tokenizers
from mlm_jax.hf.tokenizer_export import to_tokenizers


def compare(lines: list[str], kind: str, lowercase: bool, vocab_size: int):
  data = DataConfig(tokenizer=kind, vocab_size=vocab_size, lowercase=lowercase)
  ours = tokenizers.train(lines, data)
  theirs = to_tokenizers(ours)
  begin = time.perf_counter()
  expected = ours.encode(lines)
  middle = time.perf_counter()
  encodings = theirs.encode_batch_fast(lines, add_special_tokens=False)
  end = time.perf_counter()
  found = [encoding.ids for encoding in encodings]
  differ = [i for i, ids in enumerate(expected) if ids != found[i]]
  texts = theirs.decode_batch(expected)
  garbled = sum(
    ours.decode(ids) != text for ids, text in zip(expected, texts, strict=True)
  )
  tokens = sum(map(len, expected))
  print(
    f"{kind:<8} {'lowercase' if lowercase else 'cased':<10}"
    f"{len(lines):>9,} lines {tokens:>11,} tokens  "
    f"{len(differ)} differ, {garbled} decode differently  "
    f"{tokens / (middle - begin) / 1e6:.1f} and "
    f"{tokens / (end - middle) / 1e6:.1f} M tokens/s"
  )
  for i in differ[:5]:
    pieces = ours.pieces
    print(f"  {lines[i][:60]!r}...")
    print("   ", " ".join(pieces[j] for j in expected[i])[:2000])
    print("   ", " ".join(pieces[j] for j in found[i])[:2000])
  return len(differ) + garbled


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("files", nargs="+", type=pathlib.Path)
  parser.add_argument("--vocab_size", type=int, default=8192)
  args = parser.parse_args()
  versions = (
    f"{name} {importlib.metadata.version(name)}"
    for name in ("sentencepiece", "tokenizers")
  )
  print(", ".join(versions))
  lines = []
  for path in args.files:
    lines += path.read_text(errors="replace").splitlines()
  differences = sum(
    compare(lines, kind, lowercase, args.vocab_size)
    for kind in ("unigram", "bpe")
    for lowercase in (False, True)
  )
  return 1 if differences else 0


if __name__ == "__main__":
  sys.exit(main())
