"""Measures our training step on a GPU, beside Hugging Face models in PyTorch.

  PYTHONPATH=. python bench/gpu.py --out FILE.json [--minutes 8.5]
    [--rows 'train/*'] [--attention dense,cudnn] [--corpus 'texts/*.txt']
  python bench/gpu.py --table FILE.json

Rows are measured by importance: the GPU's ceilings, every attention backend
against dense float32, our step (`Run.train_step`, as `train` runs it), the
peers (see gpu_peers.py), then variants: attention backends, batch sizes, no
dropout, XLA flags. Each row is written to the file once measured. A row in the
file is not measured again; a failed one has the reason. When the minutes are
over, the remaining rows are listed, and the same command continues with them. A
file has the rows of one GPU.

Each step is measured in its own process. Documents with random ids, of
log-normal lengths or those of a corpus, are packed and masked as in the recipe.
The step includes the optimizer and the recipe's dropout; both sides compute in
bfloat16 with float32 weights. Batch sizes are tried in order while time allows,
and the fastest is kept.

Milliseconds are the median of 6 groups of 4 steps, with one synchronization per
group; memory is the peak of arrays and temporaries; "compile s" is the extra
time of the first 8 steps. Tokens do not include padding. "util" is their
`Objective.flops_per_token` over the peak of the GPU's data sheet, where
attention counts all pairs of a row; "seen" counts only the pairs that the mask
allows.

Nothing that needs TensorFlow is imported, and nothing is downloaded. --smoke
runs everything with tiny shapes, also on a CPU.
"""

import argparse
import fnmatch
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import typing

from mlm_jax.config import EncoderConfig

# (recipe, length) -> batch sizes in the order to try; the first has 32k tokens.
STEPS = {
  ("bert_base", 512): (64, 128, 256),
  ("modernbert_base", 1024): (32, 64, 128),
  ("modernbert_base", 8192): (4, 8, 16),
  ("bert_large", 512): (64, 128),
  ("modernbert_large", 1024): (32, 64),
}

# The steps that have variants.
TUNED = [("bert_base", 512), ("modernbert_base", 1024)]

# Features of attention beyond packed rows.
CASES = {"packed": {}, "window": {"window": 128}, "causal": {"causal": True}}

# Environments to try. XLA aborts the process on an unknown flag.
ENVIRONMENTS = {
  "triton_gemm=false": {"XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false"},
  "triton_gemm_any=true": {"XLA_FLAGS": "--xla_gpu_triton_gemm_any=true"},
  "exhaustive_tiling": {"XLA_FLAGS": "--xla_gpu_exhaustive_tiling_search=true"},
  "unsafe_rbg": {"JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg"},
}

# Seconds after which a row is aborted, and those it needs left to start.
LIMIT, KERNEL_LIMIT, LEAST = 180, 60, 20

MARK = "row: "


def plan(smoke, backends):
  """Returns all rows, the most important first."""
  rows = [{"name": f"ceiling/{name}"} for name in ("copy", "matmul")]
  known = typing.get_args(typing.get_type_hints(EncoderConfig)["attention"])
  rows += [
    {"name": f"attention/{impl}/{case}", "attention": impl, "asked": asked}
    for case, asked in CASES.items()
    for impl in known
    if impl != "auto"
  ]
  # Another size of the same model tests nothing more.
  steps = [k for k in STEPS if not smoke or k[0].endswith("_base")]
  rows += [_step("mlm_jax", *key) for key in steps]
  # PyTorch cannot train flex_attention on a CPU.
  sides = "torch_packed", "torch_padded", *([] if smoke else ["torch_flex"])
  rows += [_step(side, *key) for key in steps for side in sides]
  # In a smoke test, one value of each variant is enough.
  some = 1 if smoke else None
  bases = [key for key in STEPS if key[0].endswith("_base")]
  rows += [
    _step("mlm_jax", *key, f"attention={impl}", attention=impl)
    for key in bases[:some]
    for impl in backends
  ]
  rows += [
    _step("mlm_jax", *key, f"batch={size}", batches=(size,), like="")
    for key in TUNED[:some]
    for size in STEPS[key][1:][:some]
  ]
  rows += [
    _step(side, *TUNED[0], "dropout=0", dropout=False)
    for side in ("mlm_jax", "torch_packed")
  ]
  rows += [
    _step("mlm_jax", *key, name, environment=environment)
    for key in TUNED[:some]
    for name, environment in list(ENVIRONMENTS.items())[:some]
  ]
  return [_shrunk(row) for row in rows] if smoke else rows


def _step(side, model, length, variant="", **changes):
  name = f"train/{side}/{model}/{length}"
  return {
    "name": f"{name}/{variant}" if variant else name,
    "side": side,
    "model": model,
    "length": length,
    "batches": STEPS[model, length],
    "packing": "single" if side == "torch_padded" else "best_fit",
    "attention": "auto",
    "dropout": True,
    "environment": {},
    # A variant has the fastest batch size without it.
    "like": name if variant else "",
    **changes,
  }


def _shrunk(row):
  if "length" not in row:
    return row
  return row | {"length": row["length"] // 32 + 32, "batches": (2,)}


def work(spec):
  """Measures rows in this process, and prints the result of each."""
  from gpu_rows import measure

  for row in spec.pop("rows"):
    print(MARK + json.dumps(measure(row, **spec)), flush=True)


def in_process(rows, spec, log, deadline):
  """Measures rows in a subprocess, and yields (row, result) one by one.

  If the process dies, the current row has the reason, and the rest no result.
  """
  command = [
    sys.executable,
    __file__,
    "--work",
    json.dumps(spec | {"rows": rows}),
  ]
  begin = log.tell()
  process = subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=log,
    text=True,
    env=environment(rows[0]),
  )
  rows = list(rows)
  said, timer = "", None
  try:
    while rows and said is not None:
      start = time.monotonic()
      limit = LIMIT if "side" in rows[0] else KERNEL_LIMIT
      timer = threading.Timer(min(limit, deadline - start), process.kill)
      timer.start()
      said = next((x for x in process.stdout if x.startswith(MARK)), None)
      timer.cancel()
      if said is not None:
        yield rows.pop(0), json.loads(said.removeprefix(MARK))
  finally:
    timer.cancel()
    process.kill()
    process.wait()
  end = time.monotonic()
  if rows and end < deadline:
    late = end - start > limit
    words = _last_words(process.returncode, log, begin)
    yield rows[0], {"error": f"given up after {limit} s" if late else words}


def _last_words(code, log, begin):
  log.seek(begin)
  lines = [line.strip() for line in log if line.strip()]
  # XLA aborts a process with such a line and a stack trace.
  fatal = [line for line in lines if re.match(r"F\d{4} ", line)]
  said = (fatal or lines or [""])[-1]
  return f"the process ended with {code}: {said.rpartition('] ')[2]}"[:200]


def environment(row):
  """Returns the environment of a row's process; JAX gets most GPU memory."""
  found = os.environ | {"HF_HUB_OFFLINE": "1"}
  found.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
  for key, value in row.get("environment", {}).items():
    # Other flags are kept.
    both = (found.get(key, ""), value) if key == "XLA_FLAGS" else (value,)
    found[key] = " ".join(both)
  return found


def together(rows, smoke):
  """Returns the leading rows that are measured in one process."""

  def key(row):
    if "side" not in row:
      return "kernels"
    if not smoke:
      return row["name"]
    return row["side"].partition("_")[0], str(row["environment"])

  return list(itertools.takewhile(lambda row: key(row) == key(rows[0]), rows))


class Results:
  """The file of measured rows, rewritten after each of them."""

  def __init__(self, path, smoke):
    self.path, self.smoke, self.rows = path, smoke, {}
    if path.exists():
      old = json.loads(path.read_text())
      if old["smoke"] != smoke:
        sys.exit(
          f"{path} has rows of {'tiny' if old['smoke'] else 'real'} shapes"
        )
      self.rows = {row["name"]: row for row in old["rows"]}

  def settle(self, row):
    """Returns a row with the fastest batch size of its unvaried step."""
    best = self.rows.get(row.get("like"), {}).get("batch")
    return row | {"batches": (best,)} if best else row

  def add(self, row, found):
    old = self.rows.values()
    # A process that died could not report it.
    card = next((row["card"] for row in reversed(old)), "unknown")
    self.rows[row["name"]] = {"name": row["name"], "card": card, **found}
    # The PyTorch process does not know the GPU's peak.
    peaks = {
      row["card"]: row["peak_flops"] for row in old if row.get("peak_flops")
    }
    for row in old:
      peak = peaks.get(row["card"])
      if peak and "tokens_per_second" in row:
        speed = row["tokens_per_second"] / peak
        row["utilisation"] = round(speed * row["flops_per_token"], 4)
        row["seen_utilisation"] = round(speed * row["seen_flops_per_token"], 4)
    new = self.path.with_suffix(".new")
    document = {"smoke": self.smoke, "rows": list(self.rows.values())}
    new.write_text(json.dumps(document, indent=1))
    new.replace(self.path)


# Kind of row -> its columns.
_COLUMNS = {
  "ceiling": [("ms", "ms"), ("rate", "rate"), ("", "unit")],
  "attention": [
    ("output error", "output_error"),
    ("of at most", "output_size"),
    ("gradient error", "gradient_error"),
    ("of at most", "gradient_size"),
  ],
  "train": [
    ("rows", "batch"),
    ("ms", "ms"),
    ("tokens/s", "tokens_per_second"),
    ("util", "utilisation"),
    ("seen", "seen_utilisation"),
    ("GiB", "peak_gib"),
    ("compile s", "compile_s"),
    ("real", "real_share"),
    ("attention", "attention"),
  ],
}


def table(rows):
  """Yields Markdown lines: for each GPU, a table of each kind of row."""
  for card in dict.fromkeys(row["card"] for row in rows):
    here = [row for row in rows if row["card"] == card]
    versions = dict.fromkeys(
      row["versions"] for row in here if "versions" in row
    )
    yield f"{card}: {'; '.join(versions)}"
    for kind, columns in _COLUMNS.items():
      of_kind = [row for row in here if row["name"].startswith(f"{kind}/")]
      if of_kind:
        yield ""
        yield _line([kind, *(title for title, _ in columns)])
        yield _line(["---"] * (1 + len(columns)))
      for row in of_kind:
        cells = [row.get(key) for _, key in columns]
        if "error" in row:
          cells = [row["error"]] + [None] * (len(columns) - 1)
        yield _line([row["name"].partition("/")[2], *cells])
    yield ""


def _line(cells):
  return f"| {' | '.join(map(_cell, cells))} |"


def _cell(value):
  if value is None:
    return ""
  # A bar would start a cell.
  return f"{value:,}" if type(value) is int else str(value).replace("|", "/")


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--out", type=pathlib.Path, default="gpu.json")
  parser.add_argument("--minutes", type=float, default=8.5)
  parser.add_argument("--rows", default="*", help="those of such a name")
  parser.add_argument("--attention", default="dense,cudnn")
  parser.add_argument("--corpus", default="", help="a glob of text files")
  parser.add_argument(
    "--retry", action="store_true", help="also what failed before"
  )
  parser.add_argument("--smoke", action="store_true", help="tiny shapes")
  parser.add_argument("--table", metavar="FILE", help="print it, run nothing")
  parser.add_argument("--work", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.work:
    return work(json.loads(args.work))
  if args.table:
    rows = json.loads(pathlib.Path(args.table).read_text())["rows"]
    return print("\n".join(table(rows)))
  deadline = time.monotonic() + 60 * args.minutes
  results = Results(args.out, args.smoke)
  rows = plan(args.smoke, [x for x in args.attention.split(",") if x])
  todo = [
    row
    for row in rows
    if fnmatch.fnmatch(row["name"], args.rows)
    and (
      row["name"] not in results.rows
      or (args.retry and "error" in results.rows[row["name"]])
    )
  ]
  spec = {"smoke": args.smoke, "corpus": args.corpus}
  with open(args.out.with_suffix(".log"), "a+") as log:
    while todo and time.monotonic() + LEAST < deadline:
      group = [results.settle(row) for row in together(todo, args.smoke)]
      for row, found in in_process(group, spec, log, deadline):
        results.add(row, found)
        todo = [r for r in todo if r["name"] != row["name"]]
        said = found.get("error") or f"{found.get('ms', '')} ms"
        print(f"{row['name']}: {said}", file=sys.stderr, flush=True)
  print("\n".join(table(list(results.rows.values()))))
  if todo:
    print("not run, for lack of time:", *(row["name"] for row in todo))


if __name__ == "__main__":
  main()
