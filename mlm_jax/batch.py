"""What a batch holds: the contract between corruptions and objectives.

A field is an array with named axes: B rows, L tokens of a row, P target slots
of a row (of encoder-decoders, the tokens of the decoder's row). NumPy makes the
batches of tests, benches and compile checks; no TensorFlow is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlm_jax.errors import require, unknown
from mlm_jax.vocabulary import Vocabulary

if TYPE_CHECKING:
  import jax


@dataclasses.dataclass(frozen=True)
class Field:
  """An array of a batch.

  Attributes:
    axes: a letter for each axis, B first.
    dtype: its name.
    fill: its value in a row that holds nothing; "pad_id" is the vocabulary's.
    below: values are at least 0 and below this number, the vocabulary's size
      ("vocab"), or the length of a row ("L").
    meaning: what the values say.
  """

  axes: str
  dtype: Literal["int32", "float32"]
  fill: int | Literal["pad_id"]
  below: int | Literal["vocab", "L"]
  meaning: str

  def fill_value(self, vocab: Vocabulary) -> int:
    return vocab.pad_id if self.fill == "pad_id" else self.fill


Fields = Mapping[str, Field]

FIELDS = {
  "input_ids": Field(
    "BL", "int32", "pad_id", "vocab",
    "The tokens that the encoder reads.",
  ),
  "target_positions": Field(
    "BP", "int32", 0, "L",
    "The position in the row whose vector predicts each target.",
  ),
  "target_ids": Field(
    "BP", "int32", "pad_id", "vocab",
    "The token to predict in each slot.",
  ),
  "target_weights": Field(
    "BP", "float32", 0, 2,
    "1 for a target, 0 for an empty slot.",
  ),
  "prefix": Field(
    "BL", "int32", 0, 2,
    "1 for tokens that all tokens of their document attend to.",
  ),
  "decoder_ids": Field(
    "BP", "int32", "pad_id", "vocab",
    "The tokens that the decoder reads.",
  ),
  "decoder_positions": Field(
    "BP", "int32", 0, "L",
    "The position of each of the decoder's tokens in its document.",
  ),
  "target_lengths": Field(
    "BL", "int32", 0, "L",
    "At the start of each document, the number of its tokens; 0 elsewhere.",
  ),
  "type_ids": Field(
    "BL", "int32", 0, 2,
    "1 for the second sentence of a pair.",
  ),
  "pair_labels": Field(
    "B", "int32", 0, 2,
    "1 where the second sentence follows the first.",
  ),
  "pair_weights": Field(
    "B", "float32", 0, 2,
    "1 for a pair, 0 where a row has no second sentence.",
  ),
}  # fmt: skip


def select(*names: str) -> Fields:
  """Returns the fields of these names."""
  return {name: FIELDS[name] for name in names}


def merge(fields_by_provider: Mapping[str, Fields]) -> Fields:
  """Returns the fields of all providers.

  Args:
    fields_by_provider: the provider's name, for the message, and its fields.

  Raises:
    InputError: two providers want a field of one name differently.
  """
  merged: dict[str, Field] = {}
  owners: dict[str, str] = {}
  for provider, fields in fields_by_provider.items():
    for name, field in fields.items():
      owner = owners.setdefault(name, provider)
      require(
        merged.setdefault(name, field) == field,
        f"{owner} and {provider} want the batch field {name!r} differently: "
        f"{_describe(merged[name])}, or {_describe(field)}; give one of them "
        "another name",
      )
  return merged


def _describe(field: Field) -> str:
  axes = ", ".join(field.axes)
  return f"{field.dtype} [{axes}] below {field.below}, filled with {field.fill}"


@dataclasses.dataclass(frozen=True)
class Contract:
  """The fields of a run's batches and how long their axes are.

  Attributes:
    fields: each field by its name.
    sizes: the length of each axis; an axis that is left out may have any.
  """

  fields: Fields
  sizes: Mapping[str, int]

  def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shape and dtype of each field."""
    # Keys and names are validated, and completed by a shell, without JAX.
    import jax

    return {
      name: jax.ShapeDtypeStruct(self._shape(field), np.dtype(field.dtype))
      for name, field in self.fields.items()
    }

  def blank(self, vocab: Vocabulary) -> dict[str, np.ndarray]:
    """Returns a batch that counts nothing towards any loss or metric."""
    return {
      name: np.full(self._shape(field), field.fill_value(vocab), field.dtype)
      for name, field in self.fields.items()
    }

  def random(self, vocab: Vocabulary, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns a batch of packed rows with unequal numbers of targets.

    Targets are masked in the encoder's rows or, where there is a decoder, are
    its next tokens. Other fields hold independent uniform values.
    """
    rng = np.random.default_rng(seed)
    num_rows, length, slots = (self.sizes[axis] for axis in "BLP")
    rows_BL = packed_rows(num_rows, length, vocab, rng)
    if "decoder_ids" in self.fields:
      decoder_BP = packed_rows(num_rows, slots, vocab, rng)
      batch = {"input_ids": rows_BL, "decoder_ids": decoder_BP}
      batch |= next_tokens(decoder_BP, vocab)
    else:
      counts_B1 = rng.integers(0, slots + 1, num_rows)[:, None]
      maskable_BL = vocab.is_ordinary[rows_BL]
      keys_BL = -rng.random(rows_BL.shape) * maskable_BL
      positions_BP = np.argsort(keys_BL)[:, :slots]
      is_target_BP = np.arange(slots) < counts_B1
      is_target_BP &= np.take_along_axis(maskable_BL, positions_BP, axis=1)
      batch = masked(rows_BL, positions_BP, is_target_BP, vocab.mask_id)
    for name, field in self.fields.items():
      if name in batch:
        continue
      below = {"vocab": vocab.size, "L": length}.get(field.below, field.below)
      values = rng.integers(0, below, self._shape(field))
      batch[name] = values.astype(field.dtype)
    return {name: batch[name] for name in self.fields}

  def check(self, batch: Mapping[str, Any]) -> None:
    """Checks names, shapes and dtypes, of arrays of any kind.

    Raises:
      InputError: the batch does not keep the contract.
    """
    for name, field in self.fields.items():
      require(name in batch, f"the batch lacks the field {name!r}")
      shape, dtype = list(batch[name].shape), batch[name].dtype.name
      expected = [self.sizes.get(axis) for axis in field.axes]
      require(
        dtype == field.dtype
        and len(shape) == len(expected)
        and all(
          None in sizes or sizes[0] == sizes[1]
          for sizes in zip(shape, expected, strict=True)
        ),
        f"batch field {name!r} must be {field.dtype} [{', '.join(field.axes)}] "
        f"of shape {expected}, not {dtype} {shape}",
      )
    for name in batch.keys() - self.fields.keys():
      raise unknown("batch field", name, self.fields)

  def _shape(self, field: Field) -> tuple[int, ...]:
    return tuple(self.sizes[axis] for axis in field.axes)


def packed_rows(
  num_rows: int, length: int, vocab: Vocabulary, rng: np.random.Generator
) -> np.ndarray:
  """Returns int32 [num_rows, length], two documents a row and padding."""
  ordinary = np.flatnonzero(vocab.is_ordinary)
  rows = ordinary[rng.integers(0, len(ordinary), (num_rows, length))]
  rows = rows.astype(np.int32)
  rows[:, 0] = rows[:, length // 3] = vocab.start_id
  rows[:, length // 3 - 1] = vocab.end_id
  for row, padding in zip(
    rows, rng.integers(1, length // 4, num_rows), strict=True
  ):
    row[-padding:] = vocab.pad_id
    row[-padding - 1] = vocab.end_id
  return rows


def masked(
  rows_BL: np.ndarray,
  positions_BP: np.ndarray,
  is_target_BP: np.ndarray,
  replacements_BP: np.ndarray | int,
) -> dict[str, np.ndarray]:
  """Returns the batch that predicts the tokens at the targets' positions.

  Args:
    rows_BL: packed rows.
    positions_BP: of the targets, none of them twice in a row.
    is_target_BP: which slots hold a target.
    replacements_BP: what the encoder reads at the targets' positions.
  """
  targets_BP = np.take_along_axis(rows_BL, positions_BP, axis=1)
  shown_BP = np.where(is_target_BP, replacements_BP, targets_BP)
  input_ids_BL = rows_BL.copy()
  np.put_along_axis(
    input_ids_BL, positions_BP, shown_BP.astype(np.int32), axis=1
  )
  return {
    "input_ids": input_ids_BL,
    "target_positions": positions_BP.astype(np.int32),
    "target_ids": targets_BP,
    "target_weights": is_target_BP.astype(np.float32),
  }


def next_tokens(
  rows_BP: np.ndarray, vocab: Vocabulary
) -> dict[str, np.ndarray]:
  """Returns the targets of a model that predicts each row's next tokens."""
  targets_BP = np.roll(rows_BP, -1, axis=1)
  targets_BP[:, -1] = vocab.pad_id
  no_target_BP = np.isin(targets_BP, [vocab.pad_id, vocab.start_id])
  return {
    "target_ids": targets_BP,
    "target_weights": (~no_target_BP).astype(np.float32),
  }
