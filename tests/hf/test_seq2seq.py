"""Export of encoder-decoders to transformers, by the commands."""

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
  """Returns overrides for a small model of a recipe's architecture."""
  path = ROOT / "configs" / f"{name}.py"
  model = runpy.run_path(str(path))["get_config"]().model
  default = config_lib.default().model
  changed = {k: v for k, v in model.items() if v != default[k]} | SMALL
  if model.position_kind == "relative":
    changed["relative_distance"] = 20  # Shorter than some texts.
  return changed


@pytest.fixture(scope="module")
def trained_as(recipe, tmp_path_factory):
  """Returns a function: recipe -> work directory of a small trained model."""

  def train(name):
    workdir = tmp_path_factory.mktemp(name)
    values = {f"model.{k}": v for k, v in architecture_of(name).items()} | {
      "objective.name": "seq2seq",
      "corruption.kind": "bart",
      "train.steps": 12,
      # A high rate, for weights far from symmetric.
      "optim.peak_lr": 0.05,
    }
    arguments = [f"--config.{k}={v}" for k, v in values.items()]
    arguments += [f"--config={recipe}", f"--workdir={workdir}"]
    assert main(["train", *arguments]) == 0
    return workdir

  return train


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "architecture"),
  [
    ("t5_base", "T5ForConditionalGeneration"),
    ("bart_base", "BartForConditionalGeneration"),
  ],
)
def test_export_has_parity(trained_as, name, architecture, tmp_path, capsys):
  workdir = trained_as(name)
  capsys.readouterr()
  out = tmp_path / "out"
  assert main(["export_hf", f"--workdir={workdir}", f"--out={out}"]) == 0
  assert "Parity checked: logits differ by" in capsys.readouterr().out
  model, loaded = getattr(transformers, architecture).from_pretrained(
    out, output_loading_info=True
  )
  assert not any(loaded.values()), loaded
  assert "pipeline_tag: text2text-generation" in (out / "README.md").read_text()
  # Generation starts with the start token.
  tokenizer = transformers.AutoTokenizer.from_pretrained(out)
  text = tokenizer("The value of an expression.", return_tensors="pt")
  generated = model.generate(**text, max_new_tokens=4, do_sample=False)
  assert generated[0, 0] == tokenizer.cls_token_id
  assert model.config.decoder_start_token_id == tokenizer.cls_token_id
  # The end token is predicted, not forced.
  assert model.generation_config.forced_eos_token_id is None


@pytest.mark.slow
def test_export_without_an_equivalent_is_an_input_error(
  trained_as, tmp_path, capsys
):
  """Post-norm, learned positions and types: BART's but for its head."""
  workdir = trained_as("mass_base")
  capsys.readouterr()
  arguments = [f"--workdir={workdir}", f"--out={tmp_path}/out"]
  assert main(["export_hf", *arguments]) == 2
  assert "equivalent of this EncoderDecoder" in capsys.readouterr().err


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (16, 40), (8, 9)])
def test_relative_position_buckets_equal_t5s(causal, buckets, distance):
  config = EncoderConfig(relative_buckets=buckets, relative_distance=distance)
  offsets = torch.arange(600) - torch.arange(600)[:, None]
  theirs = (
    transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket(
      offsets, not causal, buckets, distance
    )
  )
  ours = relative_buckets(config, 600, causal)
  np.testing.assert_array_equal(ours, theirs.numpy())
