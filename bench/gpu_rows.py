"""The measurements of bench/gpu.py: ceilings, kernels, training steps."""

import gc
import glob
import itertools
import math
import pathlib
import re
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.batch import masked
from mlm_jax.data.corruption import batch_contract
from mlm_jax.data.packing import pack
from mlm_jax.errors import require
from mlm_jax.models.attention import AttentionMask, attention, choose
from mlm_jax.models.layers import compute_dtype
from mlm_jax.objectives import bind
from mlm_jax.training import hardware
from mlm_jax.training.run import Run
from mlm_jax.vocabulary import Vocabulary

# Each group of steps runs each batch once and synchronizes once, so that the
# host runs ahead of the device as in training.
BATCHES, GROUPS = 4, 6

# No further batch size is tried that would probably end after this time.
ROW_SECONDS = 75

# Tokens per document without a corpus: log-normal with mean 641.
MEDIAN_TOKENS, SIGMA = 350, 1.1
TOKENS_PER_WORD = 1.3


def document_lengths(corpus, rng):
  """Yields document lengths in tokens, endlessly: log-normal or a corpus's."""
  while not corpus:
    drawn = rng.lognormal(math.log(MEDIAN_TOKENS), SIGMA, 1024)
    yield from np.ceil(drawn).astype(int)
  texts = (pathlib.Path(name).read_text() for name in sorted(glob.glob(corpus)))
  words = [
    len(document.split())
    for text in texts
    for document in re.split(r"\n\s*\n", text)
    if document.strip()
  ]
  require(words, f"no text in {corpus}")
  while True:
    yield from np.ceil(rng.permutation(words) * TOKENS_PER_WORD).astype(int)


def make_rows(config, vocab, count, corpus, rng):
  """Returns int32 [count, L]: random ids in documents of realistic lengths.

  The packer starts with the longest documents, so more rows than `count` are
  packed and `count` of them drawn.
  """
  missing = 1.3 * count * config.data.seq_len
  documents = []
  for size in document_lengths(corpus, rng):
    documents.append(rng.integers(5, vocab.size, size).tolist())
    missing -= size
    if missing < 0:
      break
  rows = np.stack(list(pack(documents, config.data, vocab)))
  return rows[rng.permutation(len(rows))[:count]]


def corrupt(rows_BL, config, vocab, rng):
  """Returns the batch of corruption.kind='token_masking', made by NumPy."""
  corruption = config.corruption
  slots = batch_contract(config).sizes["P"]
  maskable_BL = vocab.is_ordinary[rows_BL]
  count_B1 = np.round(
    corruption.mask_rate * maskable_BL.sum(axis=1, keepdims=True)
  )
  places_BP = np.argsort(-rng.random(rows_BL.shape) * maskable_BL)[:, :slots]
  is_target_BP = np.arange(slots) < count_B1
  targets_BP = np.take_along_axis(rows_BL, places_BP, axis=1)
  action_BP = rng.random(targets_BP.shape)
  shown_BP = np.where(
    action_BP < corruption.mask_share + corruption.random_share,
    rng.integers(5, vocab.size, targets_BP.shape),
    targets_BP,
  )
  shown_BP[action_BP < corruption.mask_share] = vocab.mask_id
  return masked(rows_BL, places_BP, is_target_BP, shown_BP)


def segments(ids_BL, vocab):
  """Returns the document of each token, 0 for padding."""
  numbers_BL = np.cumsum(ids_BL == vocab.start_id, axis=1)
  return np.where(ids_BL == vocab.pad_id, 0, numbers_BL)


def make_config(row, batch_size, smoke):
  values = recipes.read(row["model"]).values
  values.train.update(batch_size=batch_size, initial_batch_size=0)
  values.data.seq_len = values.model.max_positions = row["length"]
  values.data.packing = row["packing"]
  values.model.attention = row["attention"]
  if not row["dropout"]:
    values.model.embedding_dropout = 0.0
    values.model.attention_dropout = 0.0
    values.model.mlp_dropout = 0.0
  if smoke:
    values.model.update(num_layers=2, width=32, num_heads=2, mlp_width=32)
    values.model.window = min(values.model.window, 16)
    values.data.vocab_size = 512
  return config_lib.build(values)


def seconds(step, wait, calls, groups=GROUPS):
  """Returns the seconds per call of each group of calls."""
  times = []
  for _ in range(groups):
    start = time.perf_counter()
    for _ in range(calls):
      step()
    wait()
    times.append((time.perf_counter() - start) / calls)
  return times


def train(row, smoke, corpus, make_side):
  """Returns the result of a row's fastest batch size, by tokens per second.

  Args:
    row: of the plan.
    smoke: whether to use tiny shapes.
    corpus: a glob of texts for document lengths; empty for log-normal ones.
    make_side: (config, vocabulary, batches, row) -> functions that run a step,
      wait for all steps, and return more results.
  """
  begin, best, tried = time.perf_counter(), {}, {}
  for batch_size in row["batches"]:
    start = time.perf_counter()
    try:
      found = _train(row, batch_size, smoke, corpus, make_side)
    except Exception as error:  # Such as out of memory.
      tried[batch_size] = one_line(error)
      break
    tried[batch_size] = found["ms"]
    best = max(best, found, key=lambda x: x.get("tokens_per_second", 0))
    end = time.perf_counter()
    if (end - begin) + (end - start) > ROW_SECONDS:
      break
  if not best:
    return {"error": tried[batch_size]}
  return {**best, "tried": tried}


def _train(row, batch_size, smoke, corpus, make_side):
  config = make_config(row, batch_size, smoke)
  vocab = Vocabulary(config.data.vocab_size, 0, 1, 2, 3, 4)
  rng = np.random.default_rng(0)
  rows = make_rows(config, vocab, BATCHES * batch_size, corpus, rng)
  batches = [
    corrupt(part, config, vocab, rng) for part in np.split(rows, BATCHES)
  ]
  gc.collect()  # Arrays of the previous batch size in reference cycles.
  step, wait, says = make_side(config, vocab, batches, row)
  start = time.perf_counter()
  # Twice: PyTorch compiles again for another number of targets.
  warm_up = 2 * BATCHES
  for _ in range(warm_up):
    step()
  wait()
  ready = time.perf_counter() - start
  times = seconds(step, wait, BATCHES, 2 if smoke else GROUPS)
  per_step = statistics.median(times)
  segments_BL = segments(rows, vocab)
  tokens = np.count_nonzero(segments_BL) / BATCHES
  documents_B = segments_BL.max(axis=1)
  objective = bind(config, vocab)
  return {
    "batch": batch_size,
    "length": rows.shape[1],
    "ms": round(1e3 * per_step, 2),
    "ms_range": [round(1e3 * t, 2) for t in (min(times), max(times))],
    "tokens_per_second": round(tokens / per_step),
    "real_share": round(tokens / (batch_size * rows.shape[1]), 4),
    "documents": round(float(documents_B.mean()), 2),
    "most_documents": [int(x.max()) for x in np.split(documents_B, BATCHES)],
    "flops_per_token": objective.flops_per_token,
    "seen_flops_per_token": objective.flops_per_token_within(rows),
    "compile_s": round(ready - warm_up * per_step, 1),
    **says(),
  }


def ours(config, vocab, batches, row):
  run = Run.on(config, vocab, jax.devices()[:1])
  batches = itertools.cycle([run.to_device(batch) for batch in batches])
  state, metrics = run.init_state(), None

  def step():
    nonlocal state, metrics
    state, metrics = run.train_step(state, next(batches))

  def says():
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {
      "peak_gib": peak and round(peak / 2**30, 2),
      "attention": chosen(config)
      if row["attention"] == "auto"
      else row["attention"],
      "loss": round(float(metrics["loss"]), 3),
    }

  return step, lambda: jax.block_until_ready(state), says


def chosen(config):
  """Returns the backends that attention="auto" chooses, by kind of layer."""
  model, rows = config.model, (config.train.batch_size, config.data.seq_len)
  heads = lambda count: jax.ShapeDtypeStruct(
    (*rows, count, model.head_width), compute_dtype(model)
  )
  q_BLHK, k_BLGK = heads(model.num_heads), heads(model.kv_heads)
  segment_ids_BL = jax.ShapeDtypeStruct(rows, jnp.int32)
  impls = {}
  for layer in range(model.num_layers):
    window = model.window if model.is_local(layer) else 0
    kind = f"window {window}" if window else "whole documents"
    mask = AttentionMask(segment_ids_BL, window=window)
    impls[kind] = choose(q_BLHK, k_BLGK, mask)
  return ", ".join(f"{impl} ({kind})" for kind, impl in impls.items())


def ceiling(row, smoke):
  """Measures the ceilings of kernels: memory bandwidth, bfloat16 matmuls."""
  key = jax.random.key(0)
  width = 256 if smoke else 8192
  if row["name"] == "ceiling/copy":
    x = jax.random.normal(key, (width, 16 * width), jnp.bfloat16)
    function, work, unit = jnp.negative, 2 * x.nbytes / 1e12, "TB/s"
  else:
    x = jax.random.normal(key, (width, width), jnp.bfloat16)
    function = lambda x: x @ x
    work, unit = 2 * width**3 / 1e12, "TFLOP/s"
  compiled, last = jax.jit(function), None

  def step():
    nonlocal last
    last = compiled(x)

  wait = lambda: last.block_until_ready()
  seconds(step, wait, 3, 1)
  took = statistics.median(seconds(step, wait, 10))
  return {
    "ms": round(1e3 * took, 3),
    "rate": float(f"{work / took:.4g}"),
    "unit": unit,
  }


def kernel(row, smoke):
  """Compares a backend in bfloat16 with dense float32: output and gradients."""
  batch, length, heads, width = (2, 128, 2, 8) if smoke else (2, 512, 4, 64)
  asked = row["asked"]
  if smoke and "window" in asked:
    asked = {"window": 32}
  # Documents end and padding starts inside a kernel's blocks.
  ends = [0.37, 0.38, 0.81], [0.03, 0.64, 1.0]
  index_L = np.arange(length)
  rows = []
  for ends_S in ends:
    ends_S1 = (np.array(ends_S) * length).astype(int)[:, None]
    number_L = 1 + (index_L >= ends_S1).sum(axis=0)
    rows.append(np.where(index_L < ends_S1[-1], number_L, 0))
  segments_BL = jnp.array(rows)
  is_real_BL11 = (segments_BL > 0)[:, :, None, None]
  shape = batch, length, heads, width
  *qkv, weights = (
    jax.random.normal(key, shape, jnp.bfloat16)
    for key in jax.random.split(jax.random.key(0), 4)
  )

  def results(impl, dtype):
    def loss(*qkv):
      mask = AttentionMask(segments_BL, **asked)
      x_BLHK = attention(*qkv, mask, impl).astype(jnp.float32)
      x_BLHK = jnp.where(is_real_BL11, x_BLHK, 0)
      return jnp.sum(x_BLHK * weights), x_BLHK

    gradient = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))
    gradients, x_BLHK = gradient(*(x.astype(dtype) for x in qkv))
    return x_BLHK, jnp.stack([x.astype(jnp.float32) for x in gradients])

  found, says = results(row["attention"], jnp.bfloat16), {}
  # By default, GPUs multiply float32 with reduced precision.
  with jax.default_matmul_precision("highest"):
    reference = results("dense", jnp.float32)
  for name, x, true in zip(
    ("output", "gradient"), found, reference, strict=True
  ):
    error = float(jnp.max(jnp.abs(x - true)))
    if not math.isfinite(error):
      return {"error": f"{name} is not finite"}
    says[f"{name}_error"] = float(f"{error:.3g}")
    says[f"{name}_size"] = float(f"{float(jnp.max(jnp.abs(true))):.3g}")
  return says


def measure(row, smoke, corpus):
  """Returns the result of a row of the plan."""
  kind, side = row["name"].partition("/")[0], row.get("side", "mlm_jax")
  about, make_side = _about, ours
  try:
    if side != "mlm_jax":
      import gpu_peers

      about, make_side = gpu_peers.about, gpu_peers.theirs
    if kind == "train":
      found = train(row, smoke, corpus, make_side)
    else:
      found = {"ceiling": ceiling, "attention": kernel}[kind](row, smoke)
  except Exception as error:
    found = {"error": one_line(error)}
  return about() | found


def _about():
  return {
    "card": jax.devices()[0].device_kind,
    "peak_flops": hardware.peak_flops(),
    "versions": f"jax {jax.__version__}",
  }


def one_line(error):
  """Returns an exception's message, short enough for a table."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  name = type(error).__name__
  said = lines[0] if lines else ""
  return (said if name == "InputError" else f"{name}: {said}")[:160]
