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
from mlm_jax.host_memory import keep_freed_memory
from mlm_jax.models.composite import Discriminator, MaskedLM
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives.base import Objective
from mlm_jax.objectives.cross_entropy import binary_cross_entropy
from mlm_jax.training.run import Run
from mlm_jax.vocabulary import Vocabulary

# (layers, width, heads, MLP width, embedding width), vocabulary, batch, length
SHAPES = {
  "electra_4x256": ((4, 256, 4, 1024, 128), 8192, 8, 128),
  "electra_small": ((12, 256, 4, 1024, 128), 30_522, 8, 128),
}


def make_config(shape, **objective):
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
  config.objective.update(objective)
  return config_lib.build(config)


def make_batch(config, vocab):
  rng = np.random.default_rng(0)
  shape = (config.train.batch_size, config.data.seq_len)
  rows = rng.integers(5, vocab.size, shape).astype(np.int32)
  rows[:, 0], rows[:, -1] = vocab.start_id, vocab.end_id
  slots = config.corruption.num_targets(shape[1])
  places = np.stack([1 + rng.permutation(shape[1] - 2)[:slots] for _ in rows])
  index = np.arange(len(rows))[:, None]
  masked = rows.copy()
  masked[index, places] = vocab.mask_id
  return {
    "input_ids": masked,
    "target_positions": places.astype(np.int32),
    "target_ids": rows[index, places],
    "target_weights": np.ones(places.shape, np.float32),
  }


def detect_masks(model, vocab, params, batch, key=None):
  """The discriminator's part of replaced token detection."""
  ids_BL = batch["input_ids"]
  where = segments_and_positions(
    ids_BL, start_id=vocab.start_id, pad_id=vocab.pad_id
  )
  logits_BL = model.apply({"params": params}, ids_BL, *where)
  is_masked_BL, real_BL = ids_BL == vocab.mask_id, ids_BL != vocab.pad_id
  return {"rtd": binary_cross_entropy(logits_BL, is_masked_BL, real_BL)}


DETECTION = Objective(
  tells="",
  model=lambda config, vocab: Discriminator(config.model, vocab.size),
  terms=lambda config: {"rtd": 50.0},
  weights=lambda batch, vocab: {
    "rtd": jnp.sum(batch["input_ids"] != vocab.pad_id, dtype=jnp.float32)
  },
  sums=detect_masks,
  parts=lambda config, vocab, params: {},
)


class DetectionRun(Run):
  objective = DETECTION


class GeneratorRun(Run):
  @functools.cached_property
  def model(self):
    generator = self.config.objective.generator(self.config.model)
    return MaskedLM(generator, self.vocab.size)


def make_step(cls, config, vocab, batch):
  run = cls.on(config, vocab)
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
  both = make_config(shape, name="rtd")
  batch = make_batch(both, vocab)
  alone = make_config(shape)
  steps = {
    "electra": make_step(Run, both, vocab, batch),
    "generator": make_step(GeneratorRun, alone, vocab, batch),
    "discriminator": make_step(DetectionRun, alone, vocab, batch),
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
