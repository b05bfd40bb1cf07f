"""Times our training step against Hugging Face models in PyTorch, in one run.

  python bench/train_step.py [--shapes bert_4x256,...] [--rounds 15] [--json]

Both sides have the same shapes, rows and masked tokens, float32, no dropout,
and AdamW with clipping. Each side has its own process; their steps alternate,
and medians are compared. "torch" is PyTorch by default, "torch_kept" PyTorch
with an allocator that keeps freed memory, as our commands use it. Each row has
one document, because Hugging Face models cannot separate packed ones. Without
torch only our side runs; TensorFlow is not used.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np

from mlm_jax import config as config_lib
from mlm_jax import families
from mlm_jax.batch import masked
from mlm_jax.data.corruption import batch_contract
from mlm_jax.host_memory import keep_freed_memory
from mlm_jax.objectives import bind
from mlm_jax.training.run import Run
from mlm_jax.vocabulary import Vocabulary

# The families, with sizes of their own beside those of the shape.
FAMILIES = {
  "bert": families.BERT,
  "roberta": families.ROBERTA,
  "distilbert": families.DISTILBERT,
  "albert": families.ALBERT | {"embedding_width": 64},
  "electra": families.BERT | {"embedding_width": 64},
  "modernbert": families.MODERNBERT,
  "nomic_bert": families.NOMIC_BERT,
  "eurobert": families.EUROBERT | {"num_kv_heads": 2},
}

# (layers, width, heads, MLP width, gated MLP width), vocabulary, batch, length
SIZES = {
  "4x256": ((4, 256, 4, 1024, 384), 8192, 8, 128),
  "12x768": ((12, 768, 12, 3072, 1152), 30_522, 4, 128),
  "22x768": ((22, 768, 12, 3072, 1152), 50_368, 4, 128),
}

SIDES = ("mlm_jax", "torch", "torch_kept")

SHAPES = [f"{family}_4x256" for family in FAMILIES]
SHAPES += ["bert_12x768", "modernbert_22x768"]


def our_config(shape):
  family, _, size = shape.rpartition("_")
  (layers, width, heads, mlp, gated), vocab_size, batch, length = SIZES[size]
  config = config_lib.default()
  config.model.update(FAMILIES[family])
  config.model.update(
    num_layers=layers,
    width=width,
    num_heads=heads,
    mlp_width=gated if config.model.glu else mlp,
  )
  config.model.update(families.NO_DROPOUT)
  config.data.update(vocab_size=vocab_size, seq_len=length)
  config.train.batch_size = batch
  return config_lib.build(config)


def make_batch(config, vocab, seed=0):
  rng = np.random.default_rng(seed)
  shape = (config.train.batch_size, config.data.seq_len)
  original = rng.integers(5, vocab.size, shape).astype(np.int32)
  original[:, 0], original[:, -1] = vocab.start_id, vocab.end_id
  slots = batch_contract(config).sizes["P"]
  count = round(config.corruption.mask_rate * (shape[1] - 2))
  places = np.stack(
    [1 + rng.permutation(shape[1] - 2)[:slots] for _ in range(shape[0])]
  )
  is_target = np.broadcast_to(np.arange(slots) < count, places.shape)
  return masked(original, places, is_target, vocab.mask_id)


def our_step(config, vocab, batch):
  run = Run.on(config, vocab)
  batch = run.to_device(batch)
  state = run.init_state()

  def step():
    nonlocal state
    state, metrics = run.train_step(state, batch)
    jax.block_until_ready((state, metrics))

  return step


def peer_step(shape, config, vocab, batch):
  import peer_models
  import torch

  optim = config.optim
  model = peer_models.model(shape.rpartition("_")[0], config, vocab)
  optimizer = peer_models.adamw(model, optim)
  input_ids = torch.tensor(batch["input_ids"]).long()
  labels = torch.full_like(input_ids, -100)
  rows = np.arange(len(labels))[:, None]
  targets = np.where(batch["target_weights"] > 0, batch["target_ids"], -100)
  labels[rows, batch["target_positions"]] = torch.tensor(targets).long()

  def step():
    model(input_ids=input_ids, labels=labels).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
    optimizer.step()
    optimizer.zero_grad()

  return step


def work(connection, side, shape):
  """Runs in a process of its own: a step per request, answered by its time."""
  if side != "torch":
    keep_freed_memory()
  config = our_config(shape)
  vocab = Vocabulary(config.data.vocab_size, 0, 1, 2, 3, 4)
  batch = make_batch(config, vocab)
  if side == "mlm_jax":
    step = our_step(config, vocab, batch)
  else:
    step = peer_step(shape, config, vocab, batch)
  for _ in range(3):  # The first steps compile and warm up.
    step()
  connection.send(bind(config, vocab).flops_per_token)
  while connection.recv():
    start = time.perf_counter()
    step()
    connection.send(time.perf_counter() - start)


def measure(shape, rounds):
  sides = SIDES if importlib.util.find_spec("torch") else SIDES[:1]
  spawn = multiprocessing.get_context("spawn")
  workers = {}
  for side in sides:
    ours, theirs = spawn.Pipe()
    spawn.Process(target=work, args=(theirs, side, shape), daemon=True).start()
    theirs.close()  # Otherwise the death of a worker would go unnoticed.
    workers[side] = ours
    flops_per_token = ours.recv()
  times = {side: [] for side in sides}
  for _ in range(rounds):
    for side, worker in workers.items():
      worker.send(True)
      times[side].append(worker.recv())
  for worker in workers.values():
    worker.send(False)
  medians = {side: statistics.median(t) for side, t in times.items()}
  *_, batch_size, length = SIZES[shape.rpartition("_")[2]]
  tokens_per_second = batch_size * length / medians["mlm_jax"]
  row = {
    "shape": shape,
    "milliseconds": {side: round(1e3 * t, 1) for side, t in medians.items()},
    "tokens_per_second": round(tokens_per_second),
    "gflops": round(tokens_per_second * flops_per_token / 1e9, 1),
    "ratio": {
      side: round(medians[side] / medians["mlm_jax"], 2) for side in sides[1:]
    },
  }
  return row


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--shapes", default=",".join(SHAPES))
  parser.add_argument("--rounds", type=int, default=15)
  parser.add_argument("--json", action="store_true")
  args = parser.parse_args()
  rows = [measure(name, args.rounds) for name in args.shapes.split(",")]
  machine = {
    "cores": os.cpu_count(),
    "python": platform.python_version(),
    **{
      name: importlib.metadata.version(name)
      for name in ("jax", "torch", "transformers")
      if importlib.util.find_spec(name)
    },
  }
  if args.json:
    print(json.dumps({"machine": machine, "rows": rows}, indent=2))
    return
  print("  ".join(f"{k} {v}" for k, v in machine.items()))
  for row in rows:
    times = "  ".join(f"{k} {v} ms" for k, v in row["milliseconds"].items())
    ratios = "  ".join(f"{v} of {k}" for k, v in row["ratio"].items())
    print(
      f"{row['shape']:<17} {times}  {row['tokens_per_second']:,} tokens/s  "
      f"{row['gflops']} GFLOP/s  {ratios}"
    )


if __name__ == "__main__":
  main()
