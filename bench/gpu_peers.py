"""Hugging Face models in PyTorch, as bench/gpu.py measures them.

A row's side names their input:

  torch_padded  one document per row, padded to the row's length; SDPA.
  torch_packed  our packed rows; SDPA with a pairwise mask, bool [B, 1, S, S],
                and positions that restart in each document.
  torch_flex    the same rows; flex_attention with block masks, which skip fully
                masked blocks. It can be trained on a GPU only.

ModernBERT takes a second mask for its windowed layers. Its own unpadding needs
the package flash-attn, or kernels that are downloaded. Masks are computed in
the compiled step from the rows' segments.
"""

import itertools

import numpy as np
import peer_models
import torch
import transformers
from gpu_rows import segments
from torch.nn.attention.flex_attention import create_block_mask

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make_model(config, vocab, side):
  model = peer_models.model(
    "modernbert" if config.model.window else "bert",
    config,
    vocab,
    attn_implementation="flex_attention" if "flex" in side else "sdpa",
  )
  return model.to(DEVICE)


def to_tensors(batch, vocab):
  """Returns ids, segments, positions and labels, all [B, S]."""
  ids_BL = batch["input_ids"]
  segments_BL = segments(ids_BL, vocab)
  index_BL = np.broadcast_to(np.arange(ids_BL.shape[1]), ids_BL.shape)
  starts_BL = np.where(ids_BL == vocab.start_id, index_BL, 0)
  positions_BL = index_BL - np.maximum.accumulate(starts_BL, axis=1)
  labels_BL = np.full_like(ids_BL, -100)
  targets_BP = np.where(batch["target_weights"] > 0, batch["target_ids"], -100)
  np.put_along_axis(labels_BL, batch["target_positions"], targets_BP, axis=1)
  return tuple(
    torch.tensor(x, dtype=torch.long, device=DEVICE)
    for x in (ids_BL, segments_BL, positions_BL, labels_BL)
  )


def make_mask(side, segments_BL, window=0):
  """Returns the attention mask of packed rows; window 0 is none."""
  half = window // 2

  def sees(b, _, i, j):
    together = segments_BL[b, i] == segments_BL[b, j]
    return together & ((i - j).abs() <= half) if window else together

  batch_size, length = segments_BL.shape
  if side == "torch_flex":
    return create_block_mask(
      sees, batch_size, None, length, length, segments_BL.device
    )
  index_L = torch.arange(length, device=segments_BL.device)
  mask_BLM = segments_BL[:, :, None] == segments_BL[:, None, :]
  if window:
    mask_BLM = mask_BLM & ((index_L[:, None] - index_L).abs() <= half)
  return mask_BLM[:, None]


def loss_of(model, side, window, ids, segments_BL, positions, labels):
  if side == "torch_padded":
    mask, positions = segments_BL, None
  else:
    mask = make_mask(side, segments_BL)
    if window:
      local = make_mask(side, segments_BL, window)
      mask = {"full_attention": mask, "sliding_attention": local}
  return model(
    input_ids=ids, attention_mask=mask, position_ids=positions, labels=labels
  ).loss


def theirs(config, vocab, batches, row):
  """Returns functions for `gpu_rows.train`: step, wait, and more results."""
  # Otherwise the second batch size would compile with dynamic shapes.
  torch.compiler.reset()
  if DEVICE == "cuda":
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
  else:
    # In tiny steps, threads synchronize longer than they compute.
    torch.set_num_threads(1)
  side, optim = row["side"], config.optim
  model = make_model(config, vocab, side)
  optimizer = peer_models.adamw(model, optim)
  batches = itertools.cycle([to_tensors(batch, vocab) for batch in batches])
  # CPUs are for tests only, where compiling would take too long.
  compiled = torch.compile(loss_of) if DEVICE == "cuda" else loss_of
  loss = None

  def step():
    nonlocal loss
    with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):
      loss = compiled(model, side, config.model.window, *next(batches))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
    optimizer.step()
    optimizer.zero_grad()

  def wait():
    if DEVICE == "cuda":
      torch.cuda.synchronize()

  def says():
    peak = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None
    return {
      "peak_gib": peak and round(peak / 2**30, 2),
      "attention": model.config._attn_implementation,
      "loss": round(loss.item(), 3),
    }

  return step, wait, says


def about():
  return {
    "card": torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE,
    "versions": f"torch {torch.__version__}, transformers "
    f"{transformers.__version__}",
  }
