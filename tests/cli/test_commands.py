"""The commands, one after the other, on one work directory."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

from mlm_jax.cli.main import main
from mlm_jax.cli.predict import describe
from mlm_jax.data.tokenizers import MASK, load
from mlm_jax.errors import InputError
from mlm_jax.evaluation import fill_mask
from mlm_jax.hf.tokenizer_export import export_tokenizer
from mlm_jax.phases import Recipe
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir


def run(capsys, *argv):
  capsys.readouterr()
  assert main(list(argv)) == 0
  return capsys.readouterr().out


def test_training_writes_the_workdir_layout(trained):
  assert {path.name for path in trained.iterdir()} == {
    "config.json",
    "tokenizer",
    "rows",
    "checkpoints",
    "metrics.jsonl",
    "tensorboard",
  }
  config = json.loads((trained / "config.json").read_text())
  assert config["train"]["steps"] == 60
  lines = (trained / "metrics.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  train = [r for r in records if r["split"] == "train"]
  heldout = [r for r in records if r["split"] == "heldout"]
  assert [r["step"] for r in train] == [*range(7, 60, 7), 60]
  assert [r["step"] for r in heldout] == [0, 50, 60]
  expected = {
    "loss",
    "accuracy",
    "tokens_seen",
    "tokens_per_second",
    "data_wait",
    "mfu",
  }
  assert expected | {"learning_rate", "grad_norm"} <= train[-1].keys()
  assert heldout[-1]["loss"] < heldout[0]["loss"] - 0.5
  assert np.all(np.diff([r["tokens_seen"] for r in train]) > 0)
  assert not list(trained.rglob("*.pkl"))


def test_evaluate_reproduces_the_heldout_metrics_of_training(trained, capsys):
  first = run(capsys, "evaluate", f"--workdir={trained}")
  again = run(capsys, "evaluate", f"--workdir={trained}")
  assert first == again
  lines = (trained / "metrics.jsonl").read_text().splitlines()
  heldout = [r for r in map(json.loads, lines) if r["split"] == "heldout"]
  said = float(re.search(r"held-out loss +([\d.]+)", first)[1])
  assert said == pytest.approx(heldout[-1]["loss"], abs=6e-4)
  own = [
    r for r in map(json.loads, lines) if r["split"] == "heldout_as_trained"
  ]
  assert [r["step"] for r in own] == [r["step"] for r in heldout]
  said = float(re.search(r"loss as trained +([\d.]+)", first)[1])
  assert said == pytest.approx(own[-1]["loss"], abs=6e-4)
  # 10% of its targets are unchanged, and give themselves away.
  assert own[-1]["loss"] != heldout[-1]["loss"]
  assert "unigram entropy" in first


def test_train_on_a_finished_run_changes_nothing(trained, recipe, capsys):
  before = (trained / "metrics.jsonl").read_text()
  arguments = [f"--config={recipe}", f"--workdir={trained}"]
  run(capsys, "train", *arguments, "--config.train.steps=60")
  assert (trained / "metrics.jsonl").read_text() == before


def test_resume_does_not_need_the_corpus(trained, recipe, corpus, capsys):
  """What is prepared is enough to evaluate, and to go on."""
  hidden = corpus.rename(corpus.with_suffix(".hidden"))
  try:
    run(capsys, "evaluate", f"--workdir={trained}")
    arguments = [f"--config={recipe}", f"--workdir={trained}"]
    out = run(capsys, "train", *arguments, "--config.train.steps=60")
    assert "already at step 60" in out
  finally:
    hidden.rename(corpus)


@pytest.mark.parametrize("which", ["best", "last", "30"])
def test_checkpoint_option_selects_a_step(trained, capsys, which):
  arguments = (f"--workdir={trained}", f"--checkpoint={which}")
  assert "held-out loss" in run(capsys, "evaluate", *arguments)


def test_missing_checkpoint_lists_those_there_are(trained, capsys):
  assert main(["evaluate", f"--workdir={trained}", "--checkpoint=31"]) == 2
  assert "last, best, 30, 60" in capsys.readouterr().err


def test_resume_with_fewer_steps_than_done_is_an_error(trained, recipe, capsys):
  arguments = [f"--config={recipe}", f"--workdir={trained}"]
  assert main(["train", *arguments, "--config.train.steps=50"]) == 2
  assert "is at step 60, past train.steps=50" in capsys.readouterr().err


def test_fill_mask_prints_a_line_per_text_and_mask(trained, capsys):
  text = f"the {MASK} of the {MASK}."
  out = run(capsys, "fill_mask", f"--workdir={trained}", f"--text={text}")
  lines = out.splitlines()
  assert len(lines) == 3 and MASK not in lines[0]
  assert all(line.count("%") == 5 for line in lines[1:])


def test_fill_mask_with_a_tokenizer_json(trained, tmp_path, capsys):
  """It gives the same guesses as the model that it was made from."""
  copy = tmp_path / "copy"
  shutil.copytree(trained, copy)
  tokenizer = Workdir.at(copy).tokenizer
  ours = load(tokenizer)
  tokenizer.rmtree()
  export_tokenizer(ours, tokenizer, max_tokens=32, check=False)
  for text in (f"the {MASK} of the {MASK}.", f"un{MASK}, {MASK}"):
    said, again = (
      run(capsys, "fill_mask", f"--workdir={workdir}", f"--text={text}")
      for workdir in (trained, copy)
    )
    assert said == again


@pytest.fixture(scope="module")
def model(trained):
  workdir = Workdir.at(trained)
  tokenizer = load(workdir.tokenizer)
  run = Run.on(workdir.load_config(), tokenizer.vocabulary)
  with Checkpoints(workdir) as checkpoints:
    params, _ = checkpoints.restore_params(run.abstract_state.params)
  return run, params, tokenizer


def test_fill_mask_probabilities_exclude_special_tokens(model):
  run, params, tokenizer = model
  words = tokenizer.vocabulary.size - len(tokenizer.vocabulary.special_ids)
  text = f"if {MASK} is not"
  (guesses,) = fill_mask.fill_mask(run, params, tokenizer, text, top_k=words)
  probabilities = [p for _, p in guesses]
  assert probabilities == sorted(probabilities, reverse=True)
  # Special tokens keep the little that the model gives them.
  assert 0.9 < sum(probabilities) <= 1.0001
  specials = {tokenizer.pieces[i] for i in tokenizer.vocabulary.special_ids}
  assert not specials & {piece for piece, _ in guesses}


def test_fill_mask_compiles_once_for_similar_lengths(model):
  run, params, tokenizer = model
  for text in (f"the {MASK} of", f"if {MASK} is not {MASK}", f"{MASK} a"):
    fill_mask.fill_mask(run, params, tokenizer, text)
  compiled = run.logits._cache_size()
  fill_mask.fill_mask(run, params, tokenizer, f"see the {MASK} of it.")
  assert run.logits._cache_size() == compiled


def test_fill_mask_depends_on_context(model):
  run, params, tokenizer = model
  guess = lambda text: dict(
    fill_mask.fill_mask(run, params, tokenizer, text, top_k=50)[0]
  )
  assert guess(f"see section {MASK}.") != guess(f"the {MASK} of")


@pytest.mark.parametrize(
  ("text", "top_k", "said"),
  [
    ("no blank here", 5, "no [MASK]"),
    (MASK, 0, "--top_k"),
    (MASK, 10_000, "--top_k"),
    ("word " * 600 + MASK, 5, "the model takes 512"),
  ],
)
def test_fill_mask_invalid_texts_raise_input_error(model, text, top_k, said):
  with pytest.raises(InputError) as caught:
    fill_mask.fill_mask(*model, text, top_k)
  assert said in str(caught.value)


@pytest.mark.parametrize(
  ("text", "pieces", "filled"),
  [
    (f"a {MASK} b.", [" cat"], "a cat b."),
    (f"walk{MASK} on", ["ing"], "walking on"),
    (f"walk {MASK} on", ["ing"], "walking on"),
    (f"{MASK} and {MASK}.", [" cats", " dogs"], "cats and dogs."),
    (f"a {MASK} {MASK}", [" re", "do"], "a redo"),
    (f"un{MASK} was a {MASK}.", ["able", " day"], "unable was a day."),
    (f"a {MASK}", [r" \1"], r"a \1"),
  ],
)
def test_fill_mask_joins_pieces_to_text(text, pieces, filled):
  guesses = [[(piece, 0.5)] for piece in pieces]
  assert describe(text, guesses, MASK)[0] == filled


def test_restore_params_on_another_mesh(trained):
  workdir = Workdir.at(trained)
  tokenizer = load(workdir.tokenizer)
  config = workdir.load_config()
  one = Run.on(config, tokenizer.vocabulary, jax.devices()[:1])
  with Checkpoints(workdir) as checkpoints:
    params, _ = checkpoints.restore_params(one.abstract_state.params)
  assert all(len(x.sharding.device_set) == 1 for x in jax.tree.leaves(params))


def test_evaluate_discrepancy_prints_a_loss_per_input(trained, capsys):
  out = run(capsys, "evaluate", f"--workdir={trained}", "--discrepancy")
  losses = dict(re.findall(r"^  (\S.*?) +([\d.]+)$", out, re.MULTILINE))
  assert set(losses) == {"[MASK]", "the token itself", "a random token"}
  assert len(set(losses.values())) == 3


@pytest.mark.parametrize(
  ("key", "value"),
  [
    ("model.remat", "full"),
    ("model.scan_layers", True),
    ("model.attention", "chunked"),
    ("model.mlp_dropout", 0.2),
  ],
)
def test_resume_with_changed_compute_keys(tmp_path, make_config, key, value):
  workdir = Workdir.at(tmp_path)
  workdir.save_config(make_config())
  recipe = Recipe(make_config(**{key: value}))
  workdir.check(recipe)
  assert list(workdir.changed(recipe)) == [key]
