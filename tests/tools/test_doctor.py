"""The doctor's findings are those of the text, the rows and the recipe."""

import json
import math
import shutil

import numpy as np
import pytest

from mlm_jax import api, objectives, phases, recipes
from mlm_jax.cli.main import main
from mlm_jax.data import prepare as prepare_lib
from mlm_jax.data import sample, sources, tokenizers
from mlm_jax.tools import doctor
from mlm_jax.workdir import Workdir


@pytest.fixture(scope="module")
def recipe(make_config, corpus):
  keys = {
    "data.corpus": f"text:{corpus}",
    "data.tokenizer": "unigram",
    "data.vocab_size": 600,
    "data.heldout_fraction": 0.0,
  }
  return phases.Recipe(make_config(**keys))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setattr(doctor, "_SECONDS", 0.1)


def examine(recipe, workdir=None, topology=""):
  found = list(doctor.examine(recipe, workdir, topology))
  assert all("\n" not in f.text for f in found if f.name != "examples")
  return {finding.name: finding for finding in found}


def test_findings_are_those_of_the_prepared_rows(recipe, tmp_path):
  found = examine(recipe, topology="v5e:4x4")
  assert {f.level for f in found.values()} <= {"ok", "look"}
  api.prepare(recipe, tmp_path)
  _, stores = prepare_lib.load(recipe.base, Workdir.at(tmp_path))
  info = stores.sources[""].info["train"]
  values = {name: finding.values for name, finding in found.items()}
  assert values["rows"]["fill"] == info.fill
  assert values["rows"]["cut"] == info.cut_share
  assert values["loss"]["unigram_entropy"] == pytest.approx(
    info.unigram_entropy
  )
  assert values["loss"]["first"] == math.log(600)
  assert values["tokens"]["bytes_per_token"] == info.bytes / info.tokens
  assert values["epochs"]["epochs"] == pytest.approx(
    recipe.base.timeline.num_rows / info.num_rows
  )
  assert values["targets"]["rows_without"] == 0
  assert values["targets"]["share"] == pytest.approx(0.15, abs=0.02)
  vocab = tokenizers.load(Workdir.at(tmp_path).tokenizer).vocabulary
  flops = objectives.bind(recipe.base, vocab).flops_per_token
  needed = 0.5 * 16 * 197e12 / flops
  assert values["loader"]["needed"] == pytest.approx(needed, rel=1e-6)
  assert "[MASK]" in found["examples"].text
  whole = sum(map(len, sources.read_documents(recipe.base.data)))
  assert values["documents"]["characters"] == whole
  assert values["documents"]["total"] == whole


def test_the_whole_is_estimated_from_a_sample(
  recipe, corpus, tmp_path, monkeypatch
):
  """Only the beginnings of some of many files are read."""
  monkeypatch.setattr(sample, "_SAMPLE_CHARS", 2_000_000)
  monkeypatch.setattr(sample, "_LEAST_CHARS", 2_000_000)
  text = corpus.read_text()
  for number in range(40):
    (tmp_path / f"{number:02}.txt").write_text(text)
  of_all = recipes.override(recipe, {"data.corpus": f"text:{tmp_path}/*.txt"})
  found = examine(of_all)
  documents = found["documents"].values
  assert documents["characters"] < 2_200_000
  whole = sum(map(len, sources.read_documents(recipe.base.data)))
  assert documents["total"] == pytest.approx(40 * whole, rel=0.1)
  epochs = [examine(r)["epochs"].values["epochs"] for r in (recipe, of_all)]
  assert epochs[0] / epochs[1] == pytest.approx(40, rel=0.1)


def test_sources_are_looked_at_one_by_one(recipe, corpus, tmp_path):
  (tmp_path / "same.txt").write_text("the value of the list\n\n" * 3_000)
  keys = {
    "data.corpus": "",
    "data.sources.good.corpus": f"text:{corpus}",
    "data.sources.bad.corpus": f"text:{tmp_path}/same.txt",
    "data.sources.bad.weight": 3.0,
    "data.heldout_fraction": 0.0,
  }
  found = examine(recipes.override(recipe, keys))
  bad = found["duplicate documents bad"]
  assert bad.level == "look"
  assert bad.values["share"] == pytest.approx(2_999 / 3_000)
  assert found["duplicate rows"].values["share"] > 0.3
  shares = [found[f"epochs {n}"].values for n in ("good", "bad")]
  rows = [v["epochs"] * v["rows"] for v in shares]
  assert rows[1] / rows[0] == pytest.approx(3, rel=0.01)


@pytest.mark.parametrize(
  ("keys", "name", "part"),
  [
    ({"data.corpus": "text:none/*.txt"}, "text", "no file matches"),
    ({"data.vocab_size": 500_000}, "rows", "pieces at most"),
    ({"data.heldout_fraction": 1e-9}, "held-out documents", "about 0"),
  ],
)
def test_what_cannot_be_prepared_is_a_stop(recipe, keys, name, part, capsys):
  found = examine(recipes.override(recipe, keys))
  assert found[name].level == "stop" and part in found[name].text


def test_many_small_files_are_a_sample_of_all(recipe, corpus, tmp_path):
  """Not the first sixteen: documents are files here."""
  for number, text in enumerate(corpus.read_text().split("\n\n")[:300]):
    (tmp_path / f"{number:03}.txt").write_text(text)
  keys = {
    "data.corpus": f"text:{tmp_path}/*.txt",
    "data.document_boundary": "file",
    "data.heldout_fraction": 0.1,
  }
  found = examine(recipes.override(recipe, keys))
  assert found["documents"].values["documents"] > 250
  assert found["held-out documents"].values["documents"] == pytest.approx(
    0.1 * found["documents"].values["documents"]
  )
  assert {f.level for f in found.values()} <= {"ok", "look"}


def test_what_a_sample_is_too_small_for_is_no_stop(recipe, corpus, monkeypatch):
  monkeypatch.setattr(sample, "_SAMPLE_CHARS", 20_000)
  monkeypatch.setattr(sample, "_LEAST_CHARS", 20_000)
  found = examine(recipes.override(recipe, {"data.vocab_size": 6_000}))
  assert found["rows"].level == "look"
  assert "of the sample alone" in found["rows"].text


def test_sources_of_a_later_phase_alone_are_no_obstacle(
  recipe, corpus, tmp_path
):
  (tmp_path / "b.txt").write_text(corpus.read_text()[::-1])
  base = recipes.override(
    recipe,
    {
      "data.corpus": "",
      "data.sources.a.corpus": f"text:{corpus}",
      "data.sources.b.corpus": f"text:{tmp_path}/b.txt",
      "data.sources.b.weight": 0.0,
    },
  ).base
  second = {
    "data.sources.a.weight": 0.0,
    "data.sources.b.weight": 1.0,
    "train.steps": 100,
  }
  diffs = {"one": {"train.steps": 50}, "two": second}
  of_one = examine(phases.Recipe(base, {"one": {"train.steps": 50}}))
  found = examine(phases.Recipe(base, diffs))
  assert found["epochs a"].values == of_one["epochs a"].values


def test_a_work_directory_with_a_tokenizer_of_ones_own(recipe, tmp_path):
  own = recipes.override(recipe, {"data.special_tokens": "[USER]"})
  api.prepare(own, tmp_path)
  found = examine(own, Workdir.at(tmp_path))
  assert found["vocabulary"].level in ("ok", "look")


def test_a_full_disk_is_a_stop(recipe, tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  found = examine(recipe, Workdir.at(tmp_path))
  assert found["disk"].level == "stop" and "1k" in found["disk"].text


@pytest.fixture
def unknown(recipe, tmp_path):
  """Chinese text, for a tokenizer of English without bytes."""
  english = recipes.override(recipe, {"data.byte_fallback": False})
  api.prepare(english, tmp_path / "english")
  rng = np.random.default_rng(0)
  signs = [chr(0x4E00 + n) for n in range(3_000)]
  text = "\n\n".join("".join(rng.choice(signs, 80)) for _ in range(400))
  (tmp_path / "chinese.txt").write_text(text + "\n\nthe value of the list")
  keys = {
    "data.corpus": f"text:{tmp_path}/chinese.txt",
    "data.tokenizer": str(tmp_path / "english" / "tokenizer"),
    "train.steps": 3,
    "train.log_every": 1,
    "train.eval_every": 3,
  }
  keys["data.heldout_fraction"] = 0.0
  return recipes.override(recipe, keys)


@pytest.mark.slow
def test_train_refuses_what_the_doctor_stops_at(unknown, tmp_path, capsys):
  found = examine(unknown)
  assert found["unknown tokens"].level == "stop"
  assert found["unknown tokens"].values["share"] > 0.4
  workdir = tmp_path / "w"
  api.prepare(unknown, workdir)
  train = ["train", f"--workdir={workdir}"]
  assert main(train) == 2
  error = capsys.readouterr().err.strip()
  assert "unknown tokens: 49" in error and "--force" in error
  assert "\n" not in error
  with pytest.raises(SystemExit) as stop:
    main(["doctor", f"--workdir={workdir}"])
  assert stop.value.code == 1
  capsys.readouterr()
  # There, steps without any target end the run.
  assert main([*train, "--force"]) in (0, 1)
  assert "Unknown tokens: 49" in capsys.readouterr().out


def test_json_has_an_object_a_line(recipe, tmp_path, capsys):
  Workdir.at(tmp_path).save_config(recipe.base)
  assert main(["doctor", f"--workdir={tmp_path}", "--json"]) == 0
  lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
  assert [line["name"] for line in lines][:2] == [
    "documents",
    "duplicate documents",
  ]
  assert all(line["level"] in ("ok", "look") for line in lines)
