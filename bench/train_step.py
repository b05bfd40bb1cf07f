"""Times our training step against Hugging Face's in PyTorch, in one run.

  python bench/train_step.py [--shapes bert_4x256,...] [--rounds 15] [--json]

Same shapes, same rows, same masked tokens, float32, no dropout, clipped AdamW
on both sides; the steps of both take turns, and medians are compared. Rows hold
one document each, since Hugging Face's models cannot keep packed ones apart.
Without torch or transformers only our side runs; TensorFlow is not used.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np

from mlm_jax import config as config_lib
from mlm_jax.data.tokenizer import Vocabulary
from mlm_jax.training import flops
from mlm_jax.training.run import Run

# name -> (peer, layers, width, heads, its MLP width, vocabulary, batch, length)
SHAPES = {
  "bert_4x256": ("bert", 4, 256, 4, 1024, 8192, 8, 128),
  "bert_12x768": ("bert", 12, 768, 12, 3072, 30_522, 4, 128),
  # Half of ModernBERT's gated MLP is the gate: our plain MLP of 1.5 times the
  # width has as many weights.
  "modernbert_4x256": ("modernbert", 4, 256, 4, 384, 8192, 8, 128),
}


def our_config(
  peer, layers, width, heads, mlp_width, vocab_size, batch, length
):
  config = config_lib.default()
  config.model.update(
    num_layers=layers,
    width=width,
    num_heads=heads,
    mlp_width=mlp_width,
    activation="gelu_tanh",
    embedding_dropout=0.0,
    attention_dropout=0.0,
    mlp_dropout=0.0,
  )
  if peer == "modernbert":
    config.model.update(
      mlp_width=mlp_width * 3 // 2,
      norm_placement="pre",
      norm_eps=1e-5,
      position_kind="rope",
      num_types=0,
    )
  config.data.update(vocab_size=vocab_size, seq_len=length)
  config.train.batch_size = batch
  return config_lib.build(config)


def make_batch(config, vocab, seed=0):
  rng = np.random.default_rng(seed)
  shape = (config.train.batch_size, config.data.seq_len)
  original = rng.integers(5, vocab.size, shape).astype(np.int32)
  original[:, 0], original[:, -1] = vocab.start_id, vocab.end_id
  slots = config.corruption.num_targets(shape[1])
  count = round(config.corruption.mask_rate * (shape[1] - 2))
  places = np.stack(
    [1 + rng.permutation(shape[1] - 2)[:slots] for _ in range(shape[0])]
  ).astype(np.int32)
  rows = np.arange(shape[0])[:, None]
  input_ids = original.copy()
  input_ids[rows, places[:, :count]] = vocab.mask_id
  weights = (np.arange(slots) < count) * np.ones([shape[0], 1])
  return {
    "input_ids": input_ids,
    "target_positions": places,
    "target_ids": original[rows, places],
    "target_weights": weights.astype(np.float32),
  }


def our_step(config, vocab, batch):
  run = Run.on(config, vocab)
  batch = run.to_device(batch)
  state = run.init_state()

  def step():
    nonlocal state
    state, metrics = run.train_step(state, batch)
    jax.block_until_ready((state, metrics))

  return step


def peer_step(peer, config, vocab, batch, mlp_width):
  import torch
  import transformers

  shape = {
    "vocab_size": vocab.size,
    "hidden_size": config.model.width,
    "num_hidden_layers": config.model.num_layers,
    "num_attention_heads": config.model.num_heads,
    "intermediate_size": mlp_width,
    "pad_token_id": vocab.pad_id,
  }
  if peer == "bert":
    model = transformers.BertForMaskedLM(
      transformers.BertConfig(
        **shape,
        hidden_act="gelu_pytorch_tanh",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
      )
    )
  else:
    model = transformers.ModernBertForMaskedLM(
      transformers.ModernBertConfig(
        **shape,
        sparse_prediction=True,
        bos_token_id=vocab.start_id,
        cls_token_id=vocab.start_id,
        eos_token_id=vocab.end_id,
        sep_token_id=vocab.end_id,
        reference_compile=False,
      )
    )
  model.train()
  optim = config.optim
  optimizer = torch.optim.AdamW(
    model.parameters(),
    lr=optim.peak_lr,
    betas=(optim.b1, optim.b2),
    eps=optim.eps,
    weight_decay=optim.weight_decay,
    fused=True,
  )
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


def measure(name, rounds):
  peer, *_, mlp_width, vocab_size, batch_size, length = SHAPES[name]
  config = our_config(*SHAPES[name])
  vocab = Vocabulary(vocab_size, 0, 1, 2, 3, 4)
  batch = make_batch(config, vocab)
  steps = {"mlm_jax": our_step(config, vocab, batch)}
  try:
    steps["torch"] = peer_step(peer, config, vocab, batch, mlp_width)
  except ImportError as error:
    print(f"no peer: {error}", file=sys.stderr)
  times = {side: [] for side in steps}
  for turn in range(rounds + 3):
    for side, step in steps.items():
      start = time.perf_counter()
      step()
      if turn >= 3:  # The first ones compile and warm up.
        times[side].append(time.perf_counter() - start)
  medians = {side: statistics.median(t) for side, t in times.items()}
  ours = batch_size * length / medians["mlm_jax"]
  row = {
    "shape": name,
    "milliseconds": {side: round(1e3 * t, 2) for side, t in medians.items()},
    "tokens_per_second": round(ours),
    "gflops": round(ours * flops.train_flops_per_token(config) / 1e9, 1),
  }
  if "torch" in medians:
    row["ratio"] = round(medians["torch"] / medians["mlm_jax"], 3)
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
    "jax": jax.__version__,
    "device": jax.devices()[0].device_kind,
  }
  if "torch" in sys.modules:
    machine["torch"] = sys.modules["torch"].__version__
    machine["transformers"] = sys.modules["transformers"].__version__
  if args.json:
    print(json.dumps({"machine": machine, "rows": rows}, indent=2))
    return
  print("  ".join(f"{k} {v}" for k, v in machine.items()))
  for row in rows:
    times = "  ".join(f"{k} {v} ms" for k, v in row["milliseconds"].items())
    print(
      f"{row['shape']:<18} {times}  {row['tokens_per_second']:,} tokens/s  "
      f"{row['gflops']} GFLOP/s  ratio {row.get('ratio', '-')}"
    )


if __name__ == "__main__":
  main()
