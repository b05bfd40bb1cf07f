"""Profiles a training step on CPU by parts of the model.

  python bench/step_profile.py [--shapes bert_12x768,...] [--steps 5]

The shapes are those of train_step.py. Operations run in parallel on several
cores, so their milliseconds sum to more than the step's. For the profiler, a
matmul that XLA passes to Eigen ends when it starts.
"""

import argparse
import collections
import os
import pathlib
import re
import tempfile
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import train_step as bench

from mlm_jax.host_memory import keep_freed_memory
from mlm_jax.training.run import Run
from mlm_jax.vocabulary import Vocabulary

# Substring of an operation's name -> part of the model; the first match counts.
PARTS = {
  "/attention/qkv/": "q, k, v",
  "/attention/out/": "output of attention",
  "/attention/": "attention",
  "/mlp/in/": "MLP, in",
  "/mlp/out/": "MLP, out",
  "/mlp/": "activation",
  "norm": "norms",
  "/stack/": "residual stream",
  "MaskedLM": "embeddings and head",
  "jvp(": "head and loss",
  "": "update",
}

LINE = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = .*? ([\w\-]+)\(")


def parts(hlo):
  """Returns operation -> (part, pass, whether it is a matmul) of a step."""
  found = {}
  for line in hlo[hlo.index("\nENTRY") :].splitlines():
    operation = LINE.match(line)
    if not operation:
      continue
    name = re.search(r'op_name="([^"]*)"', line)
    name = name[1] if name else ""
    part = next(PARTS[piece] for piece in PARTS if piece in name)
    backward = "backward" if "transpose(jvp" in name else "forward"
    if part == "update":
      backward = ""
    found[operation[1]] = (part, backward, "dot_general" in name)
  return found


def profile(shape, steps):
  config = bench.our_config(shape)
  vocab = Vocabulary(config.data.vocab_size, 0, 1, 2, 3, 4)
  run = Run.on(config, vocab)
  batch = run.to_device(bench.make_batch(config, vocab))
  found = parts(run.compile_train_step(batch)[1].as_text())
  state = run.init_state()
  for _ in range(3):
    state = jax.block_until_ready(run.train_step(state, batch)[0])
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      start = time.perf_counter()
      for _ in range(steps):
        state = jax.block_until_ready(run.train_step(state, batch)[0])
      wall = time.perf_counter() - start
    (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
    trace = jax.profiler.ProfileData.from_file(str(path))
  times = collections.Counter()
  for plane in trace.planes:
    for line in plane.lines:
      for event in line.events:
        if event.name in found:
          times[found[event.name]] += event.duration_ns / 1e6 / steps
  return 1e3 * wall / steps, times


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--shapes", default="bert_12x768,modernbert_4x256")
  parser.add_argument("--steps", type=int, default=5)
  args = parser.parse_args()
  keep_freed_memory()
  for shape in args.shapes.split(","):
    wall, times = profile(shape, args.steps)
    print(f"{shape}: {wall:.0f} ms a step, profiled")
    for (part, backward, matmul), ms in times.most_common(24):
      kind = "matmuls" if matmul else ""
      print(f"{ms:8.1f} ms  {part:<20} {backward:<9} {kind}")


if __name__ == "__main__":
  main()
