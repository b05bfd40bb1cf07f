"""Times ELECTRA's training step against those of its two submodels.

  python bench/electra.py [--rounds 21] [--json]

The three steps use the same batch and include AdamW and clipping. They
alternate in one process; medians are compared. The generator is trained as a
masked language model. The discriminator is trained to detect the masked tokens,
so that nothing has to be filled in. Shapes: ELECTRA-small at 8 x 128, and a
smaller one.
"""

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax import config as config_lib
from mlm_jax import registry
from mlm_jax.batch import masked
from mlm_jax.data.corruption import batch_contract
from mlm_jax.host_memory import keep_freed_memory
from mlm_jax.models.composite import Discriminator, MaskedLM
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives.base import Objective, Term
from mlm_jax.objectives.cross_entropy import binary_cross_entropy
from mlm_jax.objectives.mlm import MaskedLanguageModelling
from mlm_jax.objectives.rtd import generator_config
from mlm_jax.training.run import Run
from mlm_jax.vocabulary import Vocabulary

# (layers, width, heads, MLP width, embedding width), vocabulary, batch, length
SHAPES = {
  "electra_4x256": ((4, 256, 4, 1024, 128), 8192, 8, 128),
  "electra_small": ((12, 256, 4, 1024, 128), 30_522, 8, 128),
}

# Side -> the objective that it trains.
SIDES = {
  "electra": "rtd",
  "generator": "generator",
  "discriminator": "discriminator",
}


def make_config(shape, objective):
  (layers, width, heads, mlp, embedding), vocab_size, batch, length = shape
  config = config_lib.default()
  config.model.update(
    num_layers=layers,
    width=width,
    num_heads=heads,
    mlp_width=mlp,
    embedding_width=embedding,
    embedding_dropout=0.0,
    attention_dropout=0.0,
    mlp_dropout=0.0,
  )
  config.data.update(vocab_size=vocab_size, seq_len=length)
  config.corruption.update(mask_share=0.85, random_share=0.0)
  config.train.batch_size = batch
  config.objective.name = objective
  return config_lib.build(config)


def make_batch(config, vocab):
  rng = np.random.default_rng(0)
  shape = (config.train.batch_size, config.data.seq_len)
  rows = rng.integers(5, vocab.size, shape).astype(np.int32)
  rows[:, 0], rows[:, -1] = vocab.start_id, vocab.end_id
  slots = batch_contract(config).sizes["P"]
  places = np.stack([1 + rng.permutation(shape[1] - 2)[:slots] for _ in rows])
  return masked(rows, places, np.ones(places.shape, bool), vocab.mask_id)


@registry.OBJECTIVES.register("generator")
class Generator(MaskedLanguageModelling):
  """The generator's half of replaced token detection."""

  @functools.cached_property
  def model(self):
    return MaskedLM(generator_config(self.config), self.vocab.size)


@registry.OBJECTIVES.register("discriminator")
class MaskDetection(Objective):
  """The discriminator's half, which detects masks."""

  title = "mask detection"
  tasks = ("fill_masks",)

  @classmethod
  def fields(cls, config):
    return ("input_ids",)

  @functools.cached_property
  def model(self):
    return Discriminator(self.config.model, self.vocab.size)

  @property
  def terms(self):
    return {"rtd": Term(50.0, "masks")}

  def denominators(self, batch):
    is_real_BL = batch["input_ids"] != self.vocab.pad_id
    return {"rtd": jnp.sum(is_real_BL, dtype=jnp.float32)}

  def loss_sums(self, params, batch, key=None):
    ids_BL = batch["input_ids"]
    where = segments_and_positions(ids_BL, self.vocab)
    logits_BL = self.model.apply({"params": params}, ids_BL, *where)
    is_masked_BL = ids_BL == self.vocab.mask_id
    is_real_BL = ids_BL != self.vocab.pad_id
    return {"rtd": binary_cross_entropy(logits_BL, is_masked_BL, is_real_BL)}

  def forward_flops(self):
    raise NotImplementedError


def make_step(config, vocab, batch):
  run = Run.on(config, vocab)
  batch = run.to_device(batch)
  state = run.init_state()

  def step():
    nonlocal state
    state, metrics = run.train_step(state, batch)
    jax.block_until_ready((state, metrics))

  return step


def measure(name, rounds):
  shape = SHAPES[name]
  vocab = Vocabulary(shape[1], 0, 1, 2, 3, 4)
  batch = make_batch(make_config(shape, "rtd"), vocab)
  steps = {
    side: make_step(make_config(shape, objective), vocab, batch)
    for side, objective in SIDES.items()
  }
  times = {side: [] for side in steps}
  for turn in range(rounds + 3):
    for side, step in steps.items():
      start = time.perf_counter()
      step()
      if turn >= 3:  # The first steps compile and warm up.
        times[side].append(time.perf_counter() - start)
  medians = {side: 1e3 * statistics.median(t) for side, t in times.items()}
  own = medians["generator"] + medians["discriminator"]
  return {
    "shape": name,
    "milliseconds": {side: round(t, 1) for side, t in medians.items()},
    "ratio": round(medians["electra"] / own, 3),
  }


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--rounds", type=int, default=21)
  parser.add_argument("--json", action="store_true")
  args = parser.parse_args()
  keep_freed_memory()
  rows = [measure(name, args.rounds) for name in SHAPES]
  machine = {
    "cores": os.cpu_count(),
    "python": platform.python_version(),
    "jax": importlib.metadata.version("jax"),
  }
  if args.json:
    print(json.dumps({"machine": machine, "rows": rows}, indent=2))
    return
  print("  ".join(f"{k} {v}" for k, v in machine.items()))
  for row in rows:
    times = "  ".join(f"{k} {v} ms" for k, v in row["milliseconds"].items())
    print(f"{row['shape']:<15} {times}  {row['ratio']} of both alone")


if __name__ == "__main__":
  main()
