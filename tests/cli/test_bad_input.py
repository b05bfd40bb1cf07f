"""Bad input ends a command with 2 and one line that says what to do."""

import json

import pytest

from mlm_jax.cli.main import COMMANDS, main
from mlm_jax.workdir import Workdir
from tests.cli.conftest import fail

RECIPE = """
from mlm_jax import config as config_lib

def get_config():
  config = config_lib.default()
  config.data.corpus = "jsonl:{root}/corpus.jsonl"
  config.data.tokenizer = "{root}/spm.model"
  config.data.rows_dir = "{root}/rows"
  config.data.vocab_size = 400
  config.data.seq_len = 32
  config.data.heldout_fraction = 0.2
  config.model.num_layers = 1
  config.model.width = 16
  config.model.num_heads = 2
  config.model.mlp_width = 32
  config.optim.warmup_steps = 2
  config.train.steps = 4
  config.train.batch_size = 8
  {extra}
  return config
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """A folder with a small corpus, its tokenizer, and a recipe for both."""
  from pydoc_data import topics

  from mlm_jax.config import DataConfig
  from mlm_jax.data import tokenizers

  root = tmp_path_factory.mktemp("root")
  texts = [topics.topics[name] for name in sorted(topics.topics)[:20]]
  lines = [json.dumps({"text": text}) + "\n" for text in texts]
  (root / "corpus.jsonl").write_text("".join(lines))
  (root / "empty").mkdir()
  (root / "short.jsonl").write_text('{"text": "one two"}\n')
  trained = tokenizers.train(texts, DataConfig(vocab_size=400))
  (root / "spm.model").write_bytes(trained.model)
  (root / "recipe.py").write_text(RECIPE.format(root=root, extra=""))
  return root


@pytest.fixture
def line_of(root, tmp_path, capsys):
  """Returns the one line that a command leaves on stderr when it fails."""

  def run(command, *arguments, recipe=None, workdir=True):
    if COMMANDS[command].configured:
      path = root / "recipe.py"
      if recipe is not None:
        path = tmp_path / "recipe.py"
        path.write_text(recipe)
      arguments = (f"--config={path}", *arguments)
    if workdir:
      arguments = (f"--workdir={tmp_path / 'work'}", *arguments)
    needed = [
      f"{flag}=a"
      for flag, options in COMMANDS[command].arguments
      if options.get("required")
    ]
    arguments = (*needed, *arguments)
    return fail(capsys, [command, *arguments])

  return run


@pytest.mark.parametrize(
  ("override", "parts"),
  [
    ("optim.peek_lr=1", ["'optim.peek_lr'", "mean 'optim.peak_lr'"]),
    ("peak_lr=1", ["'peak_lr'", "mean 'optim.peak_lr'"]),
    ("optm.peak_lr=1", ["'optm.peak_lr'", "mean 'optim.peak_lr'"]),
    ("model=3", ["'model'"]),
    ("train.steps=many", ["train.steps wants a whole number, not 'many'"]),
    ("learning_rate=1", ["'learning_rate'", "show_config --explain"]),
    ("train.steps=1.5", ["train.steps", "1.5"]),
    ("optim.peak_lr=fast", ["optim.peak_lr wants a number, not 'fast'"]),
    ("data.lowercase=maybe", ["data.lowercase wants True or False"]),
    ("train.steps", ["train.steps"]),
    ("seed=-1", ["seed must be >= 0", "not -1"]),
    ("data.packing=best_fitt", ["data.packing", "mean 'best_fit'"]),
    ("optim.name=adam", ["optim.name", "mean 'adamw'"]),
    ("data.document_boundary=blank", ["document_boundary", "blank_line"]),
    ("corruption.mask_rate=0", ["corruption.mask_rate", "not 0.0"]),
    ("corruption.mask_rate=1", ["corruption.mask_rate", "not 1.0"]),
    ("corruption.mask_rate=1.5", ["corruption.mask_rate", "not 1.5"]),
    ("corruption.mask_rate=nan", ["corruption.mask_rate", "not nan"]),
    ("corruption.mask_share=0.95", ["corruption.mask_share", "0.95"]),
    ("data.seq_len=1024", ["data.seq_len=1024", "model.max_positions=512"]),
    ("model.num_heads=3", ["model.width=16", "model.num_heads=3"]),
    ("optim.warmup_steps=4", ["optim.warmup_steps=4", "train.steps=4"]),
    ("train.microbatches=3", ["train.batch_size=8", "train.microbatches=3"]),
    ("train.batch_size=0", ["train.batch_size must be > 0"]),
    ("mesh.data=0", ["mesh sizes"]),
    ("data.corpus=", ["no corpus", "--config.data.corpus"]),
    ("data.corpus=txt:a", ["unknown data.corpus", "mean 'text:...'"]),
    ("data.corpus=text:/none/*.txt", ["no file matches '/none/*.txt'"]),
    ("data.corpus=jsonl:{root}/recipe.py", ["recipe.py", "line 2 is not JSON"]),
    ("data.corpus=jsonl:{root}/short.jsonl", ["data.seq_len", "batch_size"]),
    ("data.text_field=body", ["data.text_field='body'", "its fields: text"]),
    ("train.batch_size=100000", ["rows", "train.batch_size=100000"]),
    ("data.skip_rows=9..3", ["data.skip_rows='9..3'", "128..160"]),
    ("data.skip_rows=1..5,4..9", ["data.skip_rows='1..5,4..9'", "'4..9'"]),
    ("data.vocab_size=401", ["400 pieces", "data.vocab_size=401"]),
    ("data.tokenizer={root}/none.model", ["no tokenizer at"]),
    ("data.tokenizer={root}/empty", ["no tokenizer in", "tokenizer.json"]),
    ("data.tokenizer={root}/recipe.py", ["is not a SentencePiece model"]),
  ],
)
def test_invalid_override_names_the_key(line_of, root, override, parts):
  line = line_of("prepare", f"--config.{override.format(root=root)}")
  for part in parts:
    assert part in line


@pytest.mark.parametrize(
  ("overrides", "parts"),
  [
    (["train.batch_size=12", "mesh.data=8"], ["train.batch_size=12", "8"]),
    (["mesh.data=3"], ["3 x 1 x 1", "8 devices"]),
    (["mesh.data=4", "mesh.tensor=4"], ["4 x 1 x 4", "8 devices"]),
    (["mesh.fsdp=3"], ["-1 x 3 x 1", "8 devices"]),
    (["mesh.data=1", "mesh.tensor=8"], ["'tensor': 8", "divide"]),
    (["train.microbatches=2"], ["train.batch_size=8", "2 micro-batches"]),
  ],
)
def test_mesh_that_does_not_fit_the_devices_is_an_error(
  line_of, on_eight_devices, overrides, parts
):
  line = line_of("train", *(f"--config.{o}" for o in overrides))
  for part in parts:
    assert part in line


@pytest.mark.parametrize(
  ("extra", "parts"),
  [
    ("config.optim.peek_lr = 1.0", ["peek_lr", "peak_lr"]),
    ("config.optm.peak_lr = 1.0", ["optm", "optim"]),
    ("config.optim.peak_lr = 'fast'", ["peak_lr", "fast"]),
    ("config.train.steps = 0", ["train.steps must be > 0"]),
    ("config.train = 3", ["train"]),
    ("config.seed = None", ["seed", "None"]),
    ("config.train.steps = None", ["train.steps", "None"]),
    ("return 3", ["get_config", "3"]),
    ("return None", ["get_config", "None"]),
    ("config.unlock().modle = 3", ["'modle'", "mean 'model'"]),
    ("config.unlock().train.step = 3", ["'train.step'", "mean 'train.steps'"]),
    ("import nothing_of_the_name", ["nothing_of_the_name"]),
    ("config.(", ["recipe.py", "syntax"]),
  ],
)
def test_failing_recipe_is_an_error(line_of, root, extra, parts):
  line = line_of("prepare", recipe=RECIPE.format(root=root, extra=extra))
  for part in parts:
    assert part in line


NEEDY_OBJECTIVE = """
from mlm_jax import registry
from mlm_jax.objectives.mlm import MaskedLanguageModelling

@registry.OBJECTIVES.register("needy")
class Needy(MaskedLanguageModelling):
  @classmethod
  def fields(cls, config):
    return (*super().fields(config), "labels")
"""
ODD_CORRUPTION = """
import dataclasses

from mlm_jax import registry
from mlm_jax.batch import select
from mlm_jax.data.corruption.token_masking import TokenMasking

TYPES = select("type_ids")["type_ids"]

@registry.CORRUPTIONS.register("odd")
class Odd(TokenMasking):
  fields = TokenMasking.fields | {
    "type_ids": dataclasses.replace(TYPES, below=3)
  }
"""
SENTENCE_PAIRS = """
  config.data.packing = "single"
  config.corruption.sentence_pairs = "sop"
"""


@pytest.mark.parametrize("command", ["show_config", "train"])
@pytest.mark.parametrize(
  ("own", "extra", "parts"),
  [
    (
      NEEDY_OBJECTIVE,
      "config.objective.name = 'needy'",
      ["objective.name='needy'", "'labels'", "'token_masking'"],
    ),
    (
      ODD_CORRUPTION,
      f"config.corruption.kind = 'odd'{SENTENCE_PAIRS}",
      ["corruption.kind='odd'", "sentence_pairs='sop'", "'type_ids'"],
    ),
  ],
)
def test_batch_fields_that_do_not_fit_are_an_error_before_preparing(
  line_of, root, tmp_path, forget, command, own, extra, parts
):
  line = line_of(command, recipe=own + RECIPE.format(root=root, extra=extra))
  for part in parts:
    assert part in line
  assert not (tmp_path / "work").exists()


def test_recipe_without_get_config_is_an_error(line_of):
  assert "get_config" in line_of("prepare", recipe="config = 3\n")


def test_missing_recipe_file_is_an_error(capsys, tmp_path):
  for path in (tmp_path / "none.py", tmp_path):
    argv = ["prepare", f"--config={path}", f"--workdir={tmp_path / 'w'}"]
    assert str(path) in fail(capsys, argv)


def test_unknown_recipe_suggests_the_closest(capsys, tmp_path):
  argv = ["prepare", "--config=bert_bse", f"--workdir={tmp_path / 'w'}"]
  line = fail(capsys, argv)
  assert line == "unknown recipe 'bert_bse'; did you mean 'bert_base'?"


def test_grow_to_suggests_the_closest_recipe(line_of):
  line = line_of("import_hf", "--grow_to=bert_lrage")
  assert line == "unknown recipe 'bert_lrage'; did you mean 'bert_large'?"


@pytest.mark.parametrize("name", ["bert_base.py", "none/bert_base"])
def test_recipe_path_is_not_searched_as_a_name(
  line_of, tmp_path, monkeypatch, name
):
  monkeypatch.chdir(tmp_path)
  line = line_of("import_hf", f"--grow_to={name}")
  assert line == f"no recipe at {name}"


def test_text_file_is_not_a_recipe(line_of, tmp_path):
  (tmp_path / "a.txt").write_text("raise SystemExit")
  line = line_of("import_hf", f"--grow_to={tmp_path / 'a.txt'}")
  assert line.endswith("is no recipe: those are Python files, *.py")


@pytest.mark.parametrize("command", COMMANDS)
def test_missing_workdir_option_is_an_error(line_of, command):
  if not COMMANDS[command].needs_workdir:
    pytest.skip("does without")
  assert "--workdir" in line_of(command, workdir=False)


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_missing_config_option_is_an_error(capsys, tmp_path, command):
  assert "--config" in fail(capsys, [command, f"--workdir={tmp_path}"])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
  ("argument", "said"),
  [
    ("--wrokdir=a", "'--wrokdir'; did you mean '--workdir'?"),
    ("stray", "'stray'"),
  ],
)
def test_unknown_argument_is_named(line_of, command, argument, said):
  assert said in line_of(command, argument)


def test_mistyped_option_is_named_before_a_missing_one(capsys):
  line = fail(capsys, ["train", "--confg=quickstart", "--wrkdir=w"])
  assert line == "unknown option '--confg'; did you mean '--config'?"


def test_options_of_beam_need_a_runner(line_of):
  line = line_of("prepare", "--beam_option=--project=mine")
  assert "--runner=RUNNER" in line


def test_multi_process_options_are_required_together(line_of):
  assert "belong together" in line_of("train", "--num_processes=2")
  assert "--process_id" in line_of("train", "--process_id=first")


@pytest.mark.parametrize("command", ["evaluate", "fill_mask"])
def test_folder_without_config_json_is_an_error(line_of, command):
  assert "is no work directory" in line_of(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_workdir_that_is_a_file_is_an_error(line_of, tmp_path, command):
  (tmp_path / "work").write_text("a file")
  assert str(tmp_path / "work") in line_of(command)


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_workdir_that_cannot_be_created_is_an_error(line_of, tmp_path, command):
  (tmp_path / "work").write_text("a file")
  workdir = tmp_path / "work" / "dir"
  said = line_of(command, f"--workdir={workdir}")
  assert f"cannot make --workdir={workdir}: " in said


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_missing_corpus_creates_no_workdir(line_of, tmp_path, command):
  workdir, corpus = tmp_path / "new", "text:/none/*.txt"
  line_of(command, f"--workdir={workdir}", f"--config.data.corpus={corpus}")
  assert not workdir.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 3}', '{"modle": {}}'])
def test_damaged_config_json_is_an_error(line_of, tmp_path, text):
  (tmp_path / "work").mkdir()
  (tmp_path / "work" / "config.json").write_text(text)
  line_of("evaluate")


@pytest.mark.parametrize("command", ["evaluate", "fill_mask"])
def test_workdir_without_checkpoints_is_an_error(
  line_of, root, tmp_path, command
):
  prepared = tmp_path / "work"
  argv = [f"--config={root / 'recipe.py'}", f"--workdir={prepared}"]
  assert main(["prepare", *argv]) == 0
  assert "has no checkpoint" in line_of(command)


@pytest.mark.parametrize("command", ["prepare", "train"])
@pytest.mark.parametrize(
  ("key", "made_with", "now"),
  [("model.width", 32, 16), ("data.vocab_size", 400, 512)],
)
def test_workdir_of_another_model_is_an_error(
  line_of, tmp_path, make_config, command, key, made_with, now
):
  Workdir.at(tmp_path / "work").save_config(make_config(**{key: made_with}))
  others = ["model.num_layers=2", "model.num_heads=4", "model.mlp_width=64"]
  same = ["model.mlp_dropout=0", *others, "data.tokenizer=bpe"]
  if key != "model.width":
    same.append("model.width=32")
  else:
    same.append("data.vocab_size=300")
  same.append(f"{key}={now}")
  line = line_of(command, *(f"--config.{o}" for o in same))
  assert f"{key} was {made_with} and cannot become {now}" in line
