"""A recipe trains an imported model further: it keeps what the weights fix."""

import dataclasses
import shutil

import pytest

from mlm_jax import api, recipes
from mlm_jax.cli.main import main
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir
from tests.conftest import records

pytestmark = pytest.mark.slow

RECIPE = """
from mlm_jax import recipes


def get_config():
  config = recipes.base("modernbert_base", "single")
  config.model.mlp_dropout = 0.2
  config.data.update(
    corpus="text:{corpus}", heldout_fraction=0.1, seq_len=32
  )
  config.optim.update(peak_lr=1e-3, warmup_tokens=0)
  config.train.update(
    steps=6, tokens=0, batch_size=8, initial_batch_size=0,
    batch_warmup_tokens=0, log_every=2, eval_every=3, checkpoint_every=3,
    eval_batches=2,
  )
  return config


def get_phases():
  return {{
    "stable": {{"train.steps": 4}},
    "decay": {{"train.steps": 3, "optim.schedule": "one_minus_sqrt",
              "model.width": 768}},
  }}
"""


@pytest.fixture(scope="module")
def imported(trained, tmp_path_factory):
  folder = tmp_path_factory.mktemp("import")
  out, workdir = folder / "model", folder / "on"
  assert main(["export_hf", f"--workdir={trained}", f"--out={out}"]) == 0
  assert main(["import_hf", f"--from={out}", f"--workdir={workdir}"]) == 0
  return workdir


@pytest.fixture
def arguments(imported, corpus, tmp_path):
  recipe = tmp_path / "recipe.py"
  recipe.write_text(RECIPE.format(corpus=corpus))
  workdir = shutil.copytree(imported, tmp_path / "on")
  return [f"--config={recipe}", f"--workdir={workdir}"]


def test_a_recipe_trains_the_imported_model(arguments, imported, capsys):
  assert main(["train", *arguments]) == 0
  out = capsys.readouterr().out
  assert "Kept from the imported model: " in out
  for kept in (
    "model.width=32 (for 768)",
    "model.num_layers=1 (for 22)",
    "model.position_kind='learned' (for 'rope')",
    "data.vocab_size=600 (for 50368)",
    "phases.decay.model.width=32 (for 768)",
  ):
    assert kept in out
  assert "Starting from the imported weights" in out
  workdir = Workdir.at(arguments[1].partition("=")[2])
  before = Workdir.at(imported).load_config()
  stable, decay = (phase.config for phase in workdir.load_recipe().phases)
  assert stable.model == dataclasses.replace(
    before.model, embedding_dropout=0.0, mlp_dropout=0.2
  )
  assert stable.data.tokenizer == before.data.tokenizer
  assert stable.optim.name == decay.optim.name == "stable_adamw"
  assert stable.corruption.mask_rate == 0.3
  found = records(workdir.root)
  heldout = [r for r in found if r["split"] == "heldout"]
  # It is trained already: the loss of a new model is log(600) = 6.4.
  assert heldout[0]["step"] == 0 and heldout[0]["loss"] < 5.9
  assert {r["phase"] for r in found} == {"stable", "decay"}
  # The same command again has nothing to do.
  assert main(["train", *arguments]) == 0
  assert "already at step 7" in capsys.readouterr().out
  assert records(workdir.root) == found


def test_the_optimizer_is_fixed_once_it_has_a_state(arguments):
  path, workdir = (argument.partition("=")[2] for argument in arguments)
  recipe = recipes.load(path)
  assert api.pretrain(recipe, workdir, stop_after_phase="stable")
  with pytest.raises(InputError, match=r"optim\.name.*'stable_adamw'"):
    api.pretrain(recipes.override(recipe, {"optim.name": "adamw"}), workdir)


def test_rows_longer_than_its_positions_are_an_input_error(arguments, capsys):
  arguments = [*arguments, "--config.data.seq_len=1024"]
  assert main(["train", *arguments]) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert "data.seq_len=1024" in line and "model.max_positions=512" in line


def test_the_recipe_is_shown_as_it_will_be_trained(arguments, capsys):
  assert main(["show_config", *arguments]) == 0
  lines = capsys.readouterr().out.splitlines()
  shown = dict(line.split(maxsplit=1) for line in lines)
  assert shown["model.width"] == "32  (not 768)"
  assert shown["optim.name"].startswith("'stable_adamw'")
