"""Batches keep their contract: specs, blank and random batches, checks."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from mlm_jax import batch as batch_lib
from mlm_jax import registry
from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption import contract
from mlm_jax.errors import InputError

KEYS = [
  *({"kind": kind} for kind in registry.CORRUPTIONS),
  {"next_token_share": 0.25, "prefix_share": 0.25},
  {"sentence_pairs": "nsp"},
]


def make(**keys):
  return contract(CorruptionConfig(**keys), {"B": 8, "L": 32})


@pytest.mark.parametrize("keys", KEYS)
def test_blank_and_random_batches_keep_the_contract(keys, vocab):
  vocab = dataclasses.replace(vocab, pad_id=299, start_id=0)
  made = make(**keys)
  blank, random = made.blank(vocab), made.random(vocab)
  for batch in (blank, random, made.spec()):
    made.check(batch)
    assert list(batch) == list(made.fields)
  for name, field in made.fields.items():
    below = {"vocab": 300, "L": 32}.get(field.below, field.below)
    assert random[name].min() >= 0 and random[name].max() < below
    assert (blank[name] == field.fill_value(vocab)).all()
  assert (blank["input_ids"] == 299).all()
  assert not blank["target_weights"].any()
  again, other = made.random(vocab), made.random(vocab, seed=1)
  for name in random:
    np.testing.assert_array_equal(random[name], again[name], err_msg=name)
    assert (random[name] != other[name]).any()


def test_random_batches_mask_ordinary_tokens_of_packed_rows(vocab):
  batch = make(mask_rate=0.5).random(vocab)
  is_target = batch["target_weights"] > 0
  assert len(np.unique(is_target.sum(axis=1))) > 1
  assert vocab.is_ordinary[batch["target_ids"][is_target]].all()
  inputs = np.take_along_axis(batch["input_ids"], batch["target_positions"], 1)
  assert (inputs[is_target] == vocab.mask_id).all()
  np.testing.assert_array_equal(
    inputs[~is_target], batch["target_ids"][~is_target]
  )
  assert (np.sum(batch["input_ids"] == vocab.start_id, axis=1) == 2).all()
  assert (np.sum(batch["input_ids"] == vocab.end_id, axis=1) == 2).all()


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda batch: batch.pop("target_ids"), "lacks the field 'target_ids'"),
    (lambda batch: batch.update(input_id=0), "did you mean 'input_ids'"),
    (lambda batch: batch.update(input_ids=np.zeros([8, 31], np.int32)), "L"),
    (lambda batch: batch.update(input_ids=np.zeros([8, 32])), "float64"),
  ],
)
def test_a_batch_that_breaks_the_contract_raises_input_error(
  change, said, vocab
):
  made = make()
  batch = made.blank(vocab)
  change(batch)
  with pytest.raises(InputError, match=said) as raised:
    made.check(batch)
  assert "\n" not in str(raised.value)


def test_fields_that_two_providers_want_differently_raise_input_error():
  one = batch_lib.select("prefix", "type_ids")
  other = {"type_ids": dataclasses.replace(one["type_ids"], below=3)}
  assert batch_lib.merge({"one": one, "same": dict(one)}) == one
  with pytest.raises(InputError, match="one and other") as raised:
    batch_lib.merge({"one": one, "other": other})
  assert "'type_ids'" in str(raised.value)
  assert "\n" not in str(raised.value)


def test_config_and_batch_spec_need_no_tensorflow():
  code = """
import sys
sys.modules["tensorflow"] = None
import mlm_jax.config
config = mlm_jax.config.Config()
from mlm_jax.data.corruption import batch_contract
assert batch_contract(config).spec()["input_ids"].shape == (256, 512)
from mlm_jax.tools import compile_check
"""
  subprocess.run([sys.executable, "-c", code], check=True)
