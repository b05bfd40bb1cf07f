"""An ELECTRA run (replaced token detection), used and exported by commands."""

import json
import re
import shutil

import pytest
import transformers

from mlm_jax.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def electra(recipe, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("electra")
  arguments = [f"--config={recipe}", f"--workdir={workdir}"]
  overrides = [
    "objective.name=rtd",
    "objective.generator_share=0.5",
    "model.embedding_width=24",
    "train.steps=20",
  ]
  arguments += [f"--config.{override}" for override in overrides]
  assert main(["train", *arguments]) == 0
  return workdir


@pytest.mark.parametrize(
  ("part", "architecture"),
  [
    ("", "ElectraForPreTraining"),
    ("discriminator", "ElectraForPreTraining"),
    ("generator", "ElectraForMaskedLM"),
  ],
)
def test_export_of_both_submodels_has_parity(
  electra, part, architecture, tmp_path, capsys
):
  arguments = [f"--workdir={electra}", f"--out={tmp_path}/out"]
  arguments += [f"--part={part}"] * bool(part)
  assert main(["export_hf", *arguments]) == 0
  assert "Parity checked: logits differ by" in capsys.readouterr().out
  model, loaded = getattr(transformers, architecture).from_pretrained(
    tmp_path / "out", output_loading_info=True
  )
  assert not any(loaded.values()), loaded
  assert model.config.hidden_size == (16 if part == "generator" else 32)
  card = (tmp_path / "out" / "README.md").read_text()
  assert "replaced token detection" in card
  assert f"{architecture}.from_pretrained" in card
  assert ("pipeline_tag: fill-mask" in card) == (part == "generator")


def test_the_exported_generator_can_be_imported(electra, tmp_path, capsys):
  arguments = [f"--workdir={electra}", f"--out={tmp_path}/out"]
  assert main(["export_hf", *arguments, "--part=generator"]) == 0
  back = f"--workdir={tmp_path}/back"
  assert main(["import_hf", f"--from={tmp_path}/out", back]) == 0
  capsys.readouterr()
  for workdir in (f"--workdir={electra}", back):
    assert main(["fill_mask", workdir, "--text", "The [MASK] of it."]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]


def test_an_unknown_part_names_the_closest(electra, tmp_path, capsys):
  arguments = [f"--workdir={electra}", f"--out={tmp_path}/out"]
  assert main(["export_hf", *arguments, "--part=generater"]) == 2
  assert "did you mean 'generator'" in capsys.readouterr().err


def test_the_loss_does_not_depend_on_padding_rows_of_a_batch(
  electra, tmp_path, capsys
):
  losses = []
  # The last batches have 6 and 22 rows to spare.
  for size in (8, 32):
    workdir = tmp_path / str(size)
    shutil.copytree(electra, workdir)
    values = json.loads((workdir / "config.json").read_text())
    values["train"] |= {"batch_size": size, "eval_batches": 0}
    (workdir / "config.json").write_text(json.dumps(values))
    assert main(["evaluate", f"--workdir={workdir}"]) == 0
    losses.append(re.findall(r"\d\.\d{3} nats", capsys.readouterr().out))
  assert losses[0] == losses[1]


def test_a_discriminator_without_equivalent_is_not_exported(
  recipe, tmp_path, capsys
):
  overrides = [
    "objective.name=rtd",
    "train.steps=11",
    "model.position_kind=rope",
    "model.norm_kind=rms",
    "objective.generator_share=0.5",
  ]
  arguments = [f"--config={recipe}", f"--workdir={tmp_path}/run"]
  arguments += [f"--config.{override}" for override in overrides]
  assert main(["train", *arguments]) == 0
  export = ["export_hf", f"--workdir={tmp_path}/run", f"--out={tmp_path}/out"]
  assert main(export) == 2
  assert "--part=generator" in capsys.readouterr().err
  assert main([*export, "--part=generator"]) == 0


def test_evaluate_and_embed(electra, tmp_path, capsys):
  assert main(["evaluate", f"--workdir={electra}"]) == 0
  out = capsys.readouterr().out
  assert "replaced tokens" in out
  assert "nats" in out
  (tmp_path / "texts").write_text("One.\nTwo.\n")
  arguments = [f"--texts={tmp_path}/texts", f"--out={tmp_path}/out.npy"]
  assert main(["embed", f"--workdir={electra}", *arguments]) == 0
  assert "[2, 32]" in capsys.readouterr().out
