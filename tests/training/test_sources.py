"""Runs on several sources: phases, resuming, evaluation by source."""

import dataclasses
import math
import os

import numpy as np
import pytest
from etils import epath

from mlm_jax import api, recipes
from mlm_jax import config as config_lib
from mlm_jax.cli.main import main
from mlm_jax.data import prepare, row_writer
from mlm_jax.data import rows as rows_lib
from mlm_jax.errors import InputError
from mlm_jax.evaluation import heldout
from mlm_jax.phases import Recipe
from mlm_jax.tools import dry_run
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir
from tests.conftest import records
from tests.training.conftest import StopAt, assert_resumes_exactly


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
  """Two sources of unlike size, and one to validate on, as globs."""
  from pydoc_data import topics

  folder = tmp_path_factory.mktemp("texts")
  names = sorted(topics.topics)
  parts = {"large": names[12:], "small": names[:10], "own": names[8:14]}
  for name, chosen in parts.items():
    documents = [topics.topics[topic].strip() for topic in chosen]
    (folder / name).write_text("\n\n".join(documents))
  return {name: f"text:{folder}/{name}" for name in parts}


@pytest.fixture(scope="session")
def recipe(base, texts, tmp_path_factory):
  """Two phases of unlike weights, evaluated on text of its own, too."""
  changes = {
    "data.corpus": "",
    "data.sources.large.corpus": texts["large"],
    "data.sources.large.weight": 3.0,
    "data.sources.small.corpus": texts["small"],
    "data.validation.own.corpus": texts["own"],
    "data.rows_dir": str(tmp_path_factory.mktemp("rows")),
    "train.eval_batches": 0,
  }
  values = config_lib.flat(base) | changes
  diffs = {
    "one": {"train.steps": 5},
    "two": {"train.steps": 4, "data.sources.small.weight": 3.0},
  }
  return Recipe(config_lib.build(config_lib.nest(values)), diffs)


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("sources")
  assert api.pretrain(recipe, workdir)
  return workdir


@pytest.mark.parametrize("step", [2, 4, 5, 7])
def test_a_run_on_sources_resumes_exactly_in_any_phase(
  recipe, trained, tmp_path, step
):
  assert_resumes_exactly(recipe, step, tmp_path, trained)


def test_records_say_what_was_read_of_each_source(recipe, trained):
  (*_, last) = [r for r in records(trained) if r["split"] == "train"]
  _, stores = prepare.load(recipe.phases[-1].config, Workdir.at(trained))
  rows = {n: s.info["train"].num_rows for n, s in stores.sources.items()}
  # 5 steps of 16 rows by 3 to 1, then 4 by 3 to 3.
  read = {"large": 60 + 32, "small": 20 + 32}
  for name in rows:
    assert last[f"epochs/{name}"] == pytest.approx(
      read[name] / rows[name], abs=1e-4
    )


def test_evaluation_is_by_source_and_all_together(recipe, trained):
  run, params, *_ = restore(Workdir.at(trained))
  _, stores = prepare.load(run.config, Workdir.at(trained))
  found = heldout.evaluator(run, stores)(params)
  assert list(found) == [
    "heldout",
    "heldout/large",
    "heldout/small",
    "validation/own",
  ]
  # Of as many tokens as each has, not a mean of means.
  counts = {}
  for name, (store, split) in stores.headline.items():
    rows = store.read(split, np.arange(store.info[split].num_rows))
    maskable = run.vocab.is_ordinary[rows].sum(axis=1)
    counts[name] = np.maximum(np.round(0.15 * maskable), 1).sum()
  assert found["heldout"]["loss"] == pytest.approx(
    sum(found[name]["loss"] * count for name, count in counts.items())
    / sum(counts.values()),
    rel=1e-3,
  )
  by_split = {r["split"]: r for r in records(trained) if r["step"] == 9}
  for name, metrics in found.items():
    assert by_split[name]["loss"] == pytest.approx(metrics["loss"], rel=1e-6)
  assert "heldout_as_trained" in by_split
  assert "heldout_as_trained/large" not in by_split


def test_documents_of_validation_are_left_out_and_counted(
  recipe, texts, trained, tmp_path, capsys
):
  """Topics 8 to 13 are its own; 8 and 9 are in small, 12 and 13 in large."""
  sources = ("large", "small")
  heldout = {
    name: prepare.load(recipe.base, Workdir.at(trained))[1].sources[name]
    for name in sources
  }
  with_validation = {name: store.info for name, store in heldout.items()}
  data = dataclasses.replace(recipe.base.data, validation={})
  config = dataclasses.replace(recipe.base, data=data)
  lines = []
  workdir = Workdir.at(tmp_path)
  # By the tokenizer that the run has.
  data = dataclasses.replace(data, tokenizer=f"{trained}/tokenizer")
  config = dataclasses.replace(config, data=data)
  _, stores = prepare.prepare(config, workdir, lines.append)
  for name in sources:
    info, without = with_validation[name], stores.sources[name].info
    left_out = info["train"].num_left_out
    assert left_out > 0
    assert info["heldout"].tokens == without["heldout"].tokens
    assert without["train"].num_left_out == 0
    assert (
      info["train"].num_documents == without["train"].num_documents - left_out
    )
  workdir = Workdir.at(trained)
  prepare.prepare(recipe.base, workdir, lines.append)
  left_out = [line for line in lines if line.startswith("Left out of")]
  assert [line.split()[3] for line in left_out] == ["large:", "small:"]


def test_evaluate_measures_any_text(trained, texts):
  found = api.evaluate(trained, corpus=texts["own"])
  own = api.evaluate(trained).texts["validation/own"]
  assert list(found.texts) == [f"validation/{texts['own']}"]
  assert found.loss == pytest.approx(own.loss, rel=1e-6)
  run, *_ = restore(Workdir.at(trained))
  _, stores = prepare.load(run.config, Workdir.at(trained))
  info = stores.validation["own"].info["train"]
  size = os.stat(texts["own"].removeprefix("text:")).st_size
  # But for the blank lines between documents.
  assert 0.98 * size < info.bytes < size
  bits = own.loss / math.log(2) * info.tokens / info.bytes
  assert own.bits_per_byte == pytest.approx(bits)
  assert own.perplexity == pytest.approx(math.exp(own.loss))


def test_evaluate_shows_each_text(trained, texts, capsys):
  assert main(["evaluate", f"--workdir={trained}"]) == 0
  shown = capsys.readouterr().out
  for name in ("heldout/large", "heldout/small", "validation/own"):
    assert f"{name} " in shown
  arguments = [f"--workdir={trained}", f"--corpus={texts['small']}"]
  assert main(["evaluate", *arguments]) == 0
  shown = capsys.readouterr().out
  assert "perplexity" in shown and "bits per byte" in shown
  assert "held-out" not in shown
  assert main(["evaluate", f"--workdir={trained}", "--corpus=text:none"]) == 2
  assert "no file matches 'none'" in capsys.readouterr().err


def test_heldout_rows_without_targets_are_no_loss_of_0(trained, tmp_path):
  run, params, *_ = restore(Workdir.at(trained))
  path, counts = epath.Path(tmp_path), {}
  for split in rows_lib.SPLITS:
    writer = row_writer.SplitWriter(path, split, 32, run.vocab)
    row = [run.vocab.start_id, run.vocab.end_id] + 30 * [run.vocab.pad_id]
    writer.append(np.array(row))
    counts[split] = writer.finish()
  row_writer.finish_store(path, 32, run.vocab, [(0, counts)])
  stores = rows_lib.Stores({"": rows_lib.RowStore(path)})
  with pytest.raises(InputError, match="nothing of the held-out rows can be"):
    heldout.evaluator(run, stores)(params)


def test_validation_text_alone_is_the_headline(recipe, tmp_path):
  """Where no documents are held out; early stopping goes by it, too."""
  changes = {
    "data.heldout_fraction": 0.0,
    "train.patience": 9,
    "train.steps": 3,
    "optim.warmup_steps": 1,
  }
  values = config_lib.flat(recipe.base) | changes
  alone = Recipe(config_lib.build(config_lib.nest(values)))
  assert api.pretrain(alone, tmp_path)
  last = {r["split"]: r for r in records(tmp_path) if r["step"] == 3}
  assert last["heldout"]["loss"] == last["validation/own"]["loss"]
  assert "heldout/large" not in last
  assert api.evaluate(tmp_path, "best").loss == pytest.approx(
    last["heldout"]["loss"], rel=1e-6
  )


def test_dry_run_shows_shares_and_epochs(recipe, trained):
  shown = dry_run.describe(recipe, Workdir.at(trained))
  assert "80 needed; large 75.0%, " in shown
  assert "64 needed; large 50.0%, " in shown
  assert shown.count("epochs; small ") == 2
  assert "none prepared" not in shown


def test_a_source_with_too_few_rows_for_its_share_raises_input_error(
  recipe, trained
):
  values = config_lib.flat(recipe.base) | {"train.batch_size": 4096}
  config = config_lib.build(config_lib.nest(values))
  with pytest.raises(InputError, match=r"data\.sources\.small .* 25.0% of one"):
    prepare.prepare(config, Workdir.at(trained), lambda line: None)


def test_sources_go_on_where_they_were_after_another_batch_size(
  recipe, tmp_path
):
  """In mid-phase, which moves the place where the next phase begins."""
  assert not api.pretrain(recipe, tmp_path, hooks=[StopAt(3)])
  smaller = recipes.override(recipe, {"train.batch_size": 8})
  assert api.pretrain(smaller, tmp_path)
  with Checkpoints(Workdir.at(tmp_path)) as checkpoints:
    read = checkpoints.streams(9)
  rows = sorted(n for name, n in read.items() if not name.startswith("mix"))
  # 3 steps of 16 rows and 2 of 8 by 3 to 1, then 4 of 8 by 3 to 3.
  assert rows == [12 + 4 + 16, 36 + 12 + 16]


def test_rows_are_skipped_in_the_mix_that_is_read(recipe, tmp_path):
  """What was read of other mixes, and of each source, is no place in it."""
  assert not api.pretrain(recipe, tmp_path, hooks=[StopAt(7)])
  # Two steps of 16 rows of the second mix; five were of the first.
  for ranges in ("31..40", "0..1"):
    skipping = recipes.override(recipe, {"phases.two.data.skip_rows": ranges})
    with pytest.raises(InputError, match=r"the stream 'mix .*to row 31"):
      api.pretrain(skipping, tmp_path)
  skipping = recipes.override(recipe, {"phases.two.data.skip_rows": "32..40"})
  assert api.pretrain(skipping, tmp_path)
