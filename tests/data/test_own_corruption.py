"""A corruption registered outside the package trains as the built-in ones."""

import numpy as np
import pytest

from mlm_jax import registry
from mlm_jax.data import pipeline
from mlm_jax.data.corruption import batch_contract
from mlm_jax.data.corruption.mask_filling import MaskFilling
from mlm_jax.data.corruption.primitives.masks import sample_tokens
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.stream import Stream
from mlm_jax.errors import InputError


@pytest.fixture
def second_half():
  """Registers a corruption that masks tokens of the second half of each row."""
  with registry.registrations_from("recipe.py"):

    @registry.CORRUPTIONS.register("second_half")
    class SecondHalf(MaskFilling):
      @property
      def max_mask_rate(self):
        return 0.5

      def sample(self, rows_BL, rate, vocab, random):
        length = rows_BL.shape[1]
        maskable_BL = np.take(vocab.is_ordinary, rows_BL)
        count_B1 = self.num_masked(maskable_BL, rate)
        maskable_BL &= np.arange(length) >= length // 2
        slots = self.num_hidden(length)
        return sample_tokens(maskable_BL, count_B1, slots, random)

  yield
  registry.CORRUPTIONS.forget("recipe.py")


def test_an_own_corruption_needs_no_other_list(
  second_half, make_config, write_store, full_rows, vocab, tmp_path
):
  rows = full_rows(8, 32)
  store = write_store(tmp_path / "store", vocab, 32, train=rows, heldout=rows)
  options = {"corruption.kind": "second_half", "data.vocab_size": vocab.size}
  config = make_config(**options)
  stream = Stream(config, {"": store})
  batch = next(iterate(pipeline.train_batches(config, stream, vocab)))
  batch_contract(config).check(batch)
  row, slot = np.nonzero(batch["target_weights"])
  assert len(row) == 8 * round(0.15 * 30)
  assert batch["target_positions"][row, slot].min() >= 16
  heldout = next(iterate(pipeline.heldout_batches(config, store, vocab)))
  assert heldout["target_positions"].min() < 16
  with pytest.raises(InputError, match="mask_rate"):
    make_config(**options, **{"corruption.mask_rate": 0.6})


def test_a_batch_of_another_shape_than_declared_raises_input_error(
  second_half, corrupt, full_rows, monkeypatch
):
  cls = registry.CORRUPTIONS["second_half"]
  monkeypatch.setattr(cls, "num_targets", lambda self, seq_len: 2)
  with pytest.raises(InputError, match="'target_positions'"):
    corrupt(full_rows(2, 32), kind="second_half")
