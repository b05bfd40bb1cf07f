"""Sorting, gathering, scattering and compacting the rows of a batch."""

from __future__ import annotations

import numpy as np

# More than the positions of a row.
MAX_POSITIONS = 1 << 20

_LOWEST = np.iinfo(np.int32).min


def top_k(keys_BL: np.ndarray, k: int) -> np.ndarray:
  """Returns int32 [B, k], the positions of each row's largest int32 keys.

  In descending order of the keys; of equal keys the first position comes first,
  on every machine.
  """
  # A key and its position are one number, so that no two are equal.
  both_BL = keys_BL.astype(np.int64)
  np.invert(both_BL, out=both_BL)
  both_BL *= MAX_POSITIONS
  both_BL += np.arange(keys_BL.shape[1])
  both_BL.sort(axis=1)
  return (both_BL[:, :k] & (MAX_POSITIONS - 1)).astype(np.int32)


def mask_keys(allowed_BL: np.ndarray, keys_BL: np.ndarray) -> np.ndarray:
  """Returns the keys, below all others where a position is not allowed."""
  return np.where(allowed_BL, np.maximum(keys_BL, _LOWEST + 1), _LOWEST)


def count(mask_BL: np.ndarray) -> np.ndarray:
  """Returns int32 [B, 1], how many values of each row are true."""
  return np.sum(mask_BL, axis=1, keepdims=True, dtype=np.int32)


def cumulative_sum(
  values_BL: np.ndarray, exclusive: bool = False
) -> np.ndarray:
  """Returns int32 [B, L], the sums of each row up to each position.

  Args:
    values_BL: numbers or booleans.
    exclusive: whether the position itself is left out.
  """
  sums_BL = np.cumsum(values_BL, axis=1, dtype=np.int32)
  return sums_BL - values_BL if exclusive else sums_BL


def gather(values_BK: np.ndarray, index_BL: np.ndarray) -> np.ndarray:
  """Returns [B, L], the values of each row at the indices of that row.

  NumPy's take_along_axis takes three times as long.
  """
  first_B1 = np.arange(len(values_BK))[:, None] * values_BK.shape[1]
  return np.take(values_BK, index_BL + first_B1)


def compact(
  values_BL: np.ndarray, kept_BL: np.ndarray, length: int, fill: int
) -> np.ndarray:
  """Returns [B, length], the kept values of each row without gaps.

  Values past `length` are cut off; missing ones are `fill`.
  """
  count_B1 = count(kept_BL)
  if count_B1.max(initial=0) > length:
    kept_BL = kept_BL & (cumulative_sum(kept_BL) <= length)
  result_BK = np.full([len(values_BL), length], fill, values_BL.dtype)
  result_BK[np.arange(length) < count_B1] = values_BL[kept_BL]
  return result_BK


def true_positions(mask_BL: np.ndarray, length: int) -> np.ndarray:
  """Returns int32 [B, length], where each row is true, and 0 past the last."""
  index_L = np.arange(mask_BL.shape[1], dtype=np.int32)
  return compact(np.broadcast_to(index_L, mask_BL.shape), mask_BL, length, 0)


def scatter_sum(
  positions_BS: np.ndarray, values_BS: np.ndarray, length: int
) -> np.ndarray:
  """Returns [B, length], the sum of the values at each position."""
  sums_BL = np.zeros([len(positions_BS), length], values_BS.dtype)
  row_B1 = np.arange(len(positions_BS))[:, None]
  np.add.at(sums_BL, (row_B1, positions_BS), values_BS)
  return sums_BL


def run_starts(mask_BL: np.ndarray) -> np.ndarray:
  """Returns bool [B, L], true at the first of each run of true values."""
  return mask_BL & ~shift_right(mask_BL, False)


def shift_right(values_BL: np.ndarray, first: int) -> np.ndarray:
  """Returns at each position the value before it, and `first` at the first."""
  shifted_BL = np.empty_like(values_BL)
  shifted_BL[:, 0], shifted_BL[:, 1:] = first, values_BL[:, :-1]
  return shifted_BL
