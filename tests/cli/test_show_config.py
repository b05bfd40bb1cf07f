"""show_config lists every key, and explains those that are asked for."""

import pytest

from mlm_jax import config as config_lib
from mlm_jax.cli.main import main
from mlm_jax.config import Config


def show(capsys, *arguments):
  assert main(["show_config", *arguments]) == 0
  return capsys.readouterr().out


def words(text):
  return " ".join(text.split())


def test_show_config_lists_every_key_and_what_differs(capsys):
  override = "--config.optim.peak_lr=0.25"
  lines = show(capsys, "--config=bert_large:single", override).splitlines()
  shown = dict(line.split(maxsplit=1) for line in lines)
  assert shown.keys() == config_lib.flat(Config()).keys()
  assert shown["optim.peak_lr"] == f"0.25  (not {Config().optim.peak_lr})"
  assert shown["model.num_layers"] == "24  (not 12)"
  assert shown["model.mlp_bias"] == "'all'"


def test_explain_without_a_recipe_shows_every_doc_string(capsys):
  out = show(capsys, "--explain")
  assert all(len(line) <= 80 for line in out.splitlines())
  paragraphs = out.rstrip().split("\n\n")
  assert len(paragraphs) == len(config_lib.keys())
  for (name, key), text in zip(
    config_lib.keys().items(), paragraphs, strict=True
  ):
    assert words(text) == words(f"{name} {key.default!r} {key.doc}")


def test_explain_shows_the_values_of_a_recipe(capsys):
  override = "--config.train.log_every=7"
  out = show(capsys, "--config=bert_large", "--explain", override)
  assert "24  (not 12)\n  " in out
  assert "7  (not 100)\n  " in out


def test_explain_of_a_key_shows_its_declaration_in_full(capsys):
  text = words(show(capsys, "--explain=train.batch_size"))
  assert text.startswith("train.batch_size 256 Rows per step")
  for part in (
    "type int",
    "default 256",
    "allowed > 0",
    "scope schedule: ",
    "may change at any restart",
  ):
    assert part in text
  text = words(show(capsys, "--explain", "optim.schedule"))
  assert "allowed 'constant', 'linear', 'cosine'" in text
  assert "type str" in text


def test_explain_says_when_a_key_may_change(capsys):
  text = words(show(capsys, "--explain=model.width"))
  assert text.endswith("may change never once weights exist")
  learned = words(show(capsys, "--explain=model.max_positions"))
  assert learned.endswith("may change never once weights exist")
  rotary = words(
    show(capsys, "--config=neobert", "--explain=model.max_positions")
  )
  assert rotary.endswith("may change between phases")


def test_explain_of_a_group_shows_its_keys_alone(capsys):
  out = show(capsys, "--explain=mesh")
  names = [line.split()[0] for line in out.splitlines() if line[:1].strip()]
  assert names == ["mesh.data", "mesh.fsdp", "mesh.tensor"]
  assert out.count("may change") == 3


@pytest.mark.parametrize(
  ("asked", "nearest"),
  [
    ("model.num_layer", "model.num_layers"),
    ("num_layers", "model.num_layers"),
    ("optm", "optim"),
    ("tran", "train"),
  ],
)
def test_explain_of_an_unknown_key_suggests_the_closest(capsys, asked, nearest):
  assert main(["show_config", f"--explain={asked}"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert f"{asked!r}; did you mean {nearest!r}?" in line


def test_explain_of_a_source_shows_the_keys_of_any(capsys):
  out = show(capsys, "--explain=data.sources.news")
  names = [line.split()[0] for line in out.splitlines() if line[:1].strip()]
  assert names == [
    f"data.sources.news.{key}"
    for key in (
      *("corpus", "text_field", "document_boundary", "document_separator"),
      "weight",
    )
  ]
  one = words(show(capsys, "--explain=data.sources.news.weight"))
  assert one.startswith("data.sources.news.weight 1.0 Share of the rows")


def test_show_config_lists_the_sources_that_there_are(capsys):
  overrides = [
    "--config.data.corpus=",
    "--config.data.sources.news.corpus=text:news/*.txt",
    "--config.data.sources.news.weight=3",
  ]
  out = show(capsys, "--config=quickstart", *overrides)
  shown = dict(line.split(maxsplit=1) for line in out.splitlines())
  assert shown["data.sources.news.weight"] == "3.0  (not 1.0)"
  assert shown["data.sources.news.text_field"] == "'text'"
  assert not any("NAME" in name for name in shown)


def test_show_config_without_explain_needs_a_recipe(capsys):
  assert main(["show_config"]) == 2
  assert "--config=RECIPE" in capsys.readouterr().err
