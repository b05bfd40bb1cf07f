"""Encoder-decoders that leave for transformers, by the commands."""

import runpy

import numpy as np
import pytest
import torch
import transformers

from mlm_jax import config as config_lib
from mlm_jax.cli.main import main
from mlm_jax.config import EncoderConfig
from mlm_jax.models.positions import relative_buckets
from tests.conftest import ROOT

SMALL = {
  "num_layers": 2,
  "num_decoder_layers": 1,
  "width": 32,
  "num_heads": 4,
  "mlp_width": 48,
}


def architecture_of(name):
  """Returns the overrides that make a small model of a recipe's kind."""
  path = ROOT / "configs" / f"{name}.py"
  model = runpy.run_path(str(path))["get_config"]().model
  default = config_lib.default().model
  changed = {k: v for k, v in model.items() if v != default[k]} | SMALL
  if model.position_kind == "relative":
    changed["relative_distance"] = 20  # Under the length of some texts.
  return changed


@pytest.fixture(scope="module")
def trained_as(recipe, tmp_path_factory):
  """Returns the work directory of a few steps of a recipe's kind of model."""

  def train(name):
    workdir = tmp_path_factory.mktemp(name)
    values = {f"model.{k}": v for k, v in architecture_of(name).items()} | {
      "objective.name": "seq2seq",
      "corruption.kind": "bart",
      "train.steps": 12,
      # Weights that are far from symmetric.
      "optim.peak_lr": 0.05,
    }
    arguments = [f"--config.{k}={v}" for k, v in values.items()]
    arguments += [f"--config={recipe}", f"--workdir={workdir}"]
    assert main(["train", *arguments]) == 0
    return workdir

  return train


@pytest.mark.parametrize(
  ("name", "architecture"),
  [
    ("t5_base", "T5ForConditionalGeneration"),
    ("bart_base", "BartForConditionalGeneration"),
  ],
)
def test_they_leave_with_equal_logits(
  trained_as, name, architecture, tmp_path, capsys
):
  workdir = trained_as(name)
  capsys.readouterr()
  out = tmp_path / "out"
  assert main(["export_hf", f"--workdir={workdir}", f"--out={out}"]) == 0
  assert "Parity checked: logits differ by" in capsys.readouterr().out
  model, told = getattr(transformers, architecture).from_pretrained(
    out, output_loading_info=True
  )
  assert not any(told.values()), told
  assert "pipeline_tag: text2text-generation" in (out / "README.md").read_text()
  # It generates, from the start token on.
  tokenizer = transformers.AutoTokenizer.from_pretrained(out)
  text = tokenizer("The value of an expression.", return_tensors="pt")
  said = model.generate(**text, max_new_tokens=4, do_sample=False)
  assert said[0, 0] == tokenizer.cls_token_id
  assert model.config.decoder_start_token_id == tokenizer.cls_token_id
  # Nothing but the model says how a text ends.
  assert model.generation_config.forced_eos_token_id is None


def test_what_has_no_class_there_is_refused(trained_as, tmp_path, capsys):
  """Post-norm, with learned positions and types: BART's, but for its head."""
  workdir = trained_as("mass_base")
  capsys.readouterr()
  arguments = [f"--workdir={workdir}", f"--out={tmp_path}/out"]
  assert main(["export_hf", *arguments]) == 2
  assert "computes this EncoderDecoder" in capsys.readouterr().err


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (16, 40), (8, 9)])
def test_distances_fall_into_the_buckets_of_t5(causal, buckets, distance):
  config = EncoderConfig(relative_buckets=buckets, relative_distance=distance)
  ahead = torch.arange(600) - torch.arange(600)[:, None]
  theirs = (
    transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket(
      ahead, not causal, buckets, distance
    )
  )
  ours = relative_buckets(config, 600, causal)
  np.testing.assert_array_equal(ours, theirs.numpy())
