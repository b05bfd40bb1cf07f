"""What the tables of names accept from a recipe file."""

import pytest

from mlm_jax import registry
from mlm_jax.config import TrainConfig
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.errors import InputError
from mlm_jax.objectives.base import Objective
from mlm_jax.objectives.mlm import MaskedLanguageModelling


class Taskless(Corruption):
  fields = None


class Lossless(Objective):
  title = "nothing"
  tasks = ("fill_masks",)


class Untitled(Objective):
  tasks = ("fill_masks",)


class Collecting:
  def collect(self, objective, params, batch):
    return batch


@pytest.mark.parametrize(
  ("table", "entry", "flaw"),
  [
    (registry.CORRUPTIONS, Taskless, "Taskless lacks task"),
    (registry.CORRUPTIONS, MaskedLanguageModelling, "lacks task, corrupt"),
    (registry.OBJECTIVES, lambda config: 0, "is not a class"),
    (registry.OBJECTIVES, Untitled, "Untitled lacks title"),
    (registry.OBJECTIVES, Lossless, "Lossless lacks .*loss_sums"),
    (registry.OBJECTIVES, Taskless, "Taskless lacks title, tasks"),
    (registry.METRICS, Collecting, "Collecting lacks compute"),
    (registry.OPTIMIZERS, 3, "3 is not a function"),
    (registry.SCHEDULES, "linear", "'linear' is not a function"),
    (registry.CORPUS_FORMATS, ["a"], r"\['a'\] is not a function"),
  ],
)
def test_a_malformed_entry_raises_input_error(table, entry, flaw):
  with pytest.raises(InputError, match=f"{table.key}='mine'.*{flaw}") as error:
    table.register("mine", entry)
  assert "\n" not in str(error.value)
  assert "mine" not in table


@pytest.mark.parametrize("table", registry.TABLES)
def test_the_package_keeps_to_what_it_asks_of_entries(table):
  assert not any(map(table._flaw, table.values()))


def test_an_unknown_name_in_an_empty_table():
  with pytest.raises(InputError, match=r"train\.metrics 'f1'; none is regist"):
    TrainConfig(metrics="f1")
