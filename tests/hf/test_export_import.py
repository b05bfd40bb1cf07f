"""Export to transformers and import from it, by the commands."""

import json
import re

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from mlm_jax.cli.main import main
from mlm_jax.errors import InputError
from mlm_jax.hf import exporting, parity
from mlm_jax.workdir import Workdir


def run(capsys, *argv):
  capsys.readouterr()
  assert main(list(argv)) == 0
  return capsys.readouterr().out


def error_of(capsys, *argv):
  capsys.readouterr()
  assert main(list(argv)) == 2
  lines = capsys.readouterr().err.strip().splitlines()
  assert len(lines) == 1, lines
  return lines[0]


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
  out = tmp_path_factory.mktemp("exported") / "model"
  assert main(["export_hf", f"--workdir={trained}", f"--out={out}"]) == 0
  return out


@pytest.fixture(scope="module")
def imported(exported, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("imported")
  assert main(["import_hf", f"--from={exported}", f"--workdir={workdir}"]) == 0
  return workdir


TEXT = "The [MASK] of the class is [MASK]."


def test_transformers_fills_masks_equally(trained, exported, capsys):
  ours = run(
    capsys, "fill_mask", f"--workdir={trained}", "--text", TEXT, "--top_k=3"
  )
  fill = transformers.pipeline("fill-mask", model=str(exported), top_k=3)
  for number, guesses in enumerate(fill(TEXT), 1):
    (line,) = re.findall(rf"\[MASK\] {number}: (.*)", ours)
    ours_here = re.findall(r"(\S+) ([\d.]+)%", line)
    for (piece, percent), guess in zip(ours_here, guesses, strict=True):
      assert piece.removeprefix("…") == guess["token_str"].strip()
      # Ours leaves special tokens out of the sum.
      assert float(percent) == pytest.approx(100 * guess["score"], abs=0.2)


def test_exported_files_load_in_transformers(exported):
  assert {path.name for path in exported.iterdir()} == {
    "README.md",
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
  }
  model, loaded = transformers.AutoModelForMaskedLM.from_pretrained(
    exported, output_loading_info=True
  )
  assert not any(loaded.values()), loaded
  assert isinstance(model, transformers.BertForMaskedLM)
  model = transformers.AutoModel.from_pretrained(exported)
  assert isinstance(model, transformers.BertModel)


def test_the_model_card_has_loss_and_parity(trained, exported):
  card = (exported / "README.md").read_text()
  lines = (trained / "metrics.jsonl").read_text().splitlines()
  heldout = [r for r in map(json.loads, lines) if r["split"] == "heldout"][-1]
  assert f"{heldout['loss']:.3f} nats per token at step 60" in card
  assert "token_masking, 15% of tokens, all shown as the mask token" in card
  logits, hidden = re.findall(r"differ by ([\d.e-]+)", card)
  assert 0 < float(logits) < 1e-4
  assert 0 < float(hidden) < 1e-4
  assert '"peak_lr": 0.01' in card


def test_sentence_transformers_embeds_equally(exported, imported, tmp_path):
  import sentence_transformers

  texts = ["The class statement.", "", "Exceptions are raised by the parser."]
  (tmp_path / "texts").write_text("\n".join(texts) + "\n")
  arguments = [f"--texts={tmp_path}/texts", f"--out={tmp_path}/vectors.npy"]
  assert main(["embed", f"--workdir={imported}", *arguments]) == 0
  peer = sentence_transformers.SentenceTransformer(str(exported), device="cpu")
  ours = np.load(tmp_path / "vectors.npy")
  np.testing.assert_allclose(ours, peer.encode(texts), atol=1e-5)


@pytest.mark.parametrize(("pool", "length"), [("mean", 40), ("start", 12)])
def test_a_folder_of_sentence_transformers_pools_as_asked(
  pool, length, imported, tmp_path, capsys
):
  import sentence_transformers

  texts = ["The class statement.", "Exceptions are raised.", "a b " * 10]
  (tmp_path / "texts").write_text("\n".join(texts) + "\n")
  run(
    capsys,
    *("export_hf", f"--workdir={imported}", f"--out={tmp_path}/out"),
    *(f"--sentence_transformers={pool}", f"--max_tokens={length}"),
  )
  peer = sentence_transformers.SentenceTransformer(
    str(tmp_path / "out"), device="cpu"
  )
  assert peer.max_seq_length == length
  arguments = [f"--texts={tmp_path}/texts", f"--out={tmp_path}/vectors.npy"]
  run(capsys, "embed", f"--workdir={imported}", f"--pool={pool}", *arguments)
  ours = np.load(tmp_path / "vectors.npy")
  theirs = peer.encode(texts)
  np.testing.assert_allclose(ours[:2], theirs[:2], atol=1e-5)
  line = error_of(
    capsys,
    *("export_hf", f"--workdir={imported}", f"--out={tmp_path}/no"),
    "--sentence_transformers=men",
  )
  assert "did you mean 'mean'" in line


def test_an_imported_model_fills_masks_equally(trained, imported, capsys):
  arguments = ["--text", TEXT]
  ours = run(capsys, "fill_mask", f"--workdir={trained}", *arguments)
  assert ours == run(capsys, "fill_mask", f"--workdir={imported}", *arguments)


def test_export_import_export_gives_the_same_files(
  exported, imported, tmp_path
):
  again = tmp_path / "again"
  assert main(["export_hf", f"--workdir={imported}", f"--out={again}"]) == 0
  for path in exported.iterdir():
    if path.name != "README.md":
      assert path.read_bytes() == (again / path.name).read_bytes(), path.name
  assert str(exported) in (again / "README.md").read_text()


@pytest.mark.slow
def test_training_continues_from_an_import(exported, corpus, tmp_path, capsys):
  workdir = f"--workdir={tmp_path}/on"
  run(capsys, "import_hf", f"--from={exported}", workdir)
  arguments = [
    "train",
    workdir,
    f"--config.data.corpus=text:{corpus}",
    "--config.data.seq_len=32",
    "--config.data.heldout_fraction=0.1",
    "--config.optim.warmup_steps=5",
    "--config.optim.schedule=constant",
    "--config.train.batch_size=8",
    "--config.train.eval_batches=2",
    "--config.train.eval_every=10",
    "--config.train.log_every=10",
    "--config.train.checkpoint_every=10",
  ]
  said = run(capsys, *arguments, "--config.train.steps=20")
  assert "Starting from the imported weights" in said
  # The same command again, with the work directory's own recipe.
  said = run(capsys, "train", workdir, "--config.train.steps=30")
  assert "Continuing from step 20" in said
  lines = (tmp_path / "on" / "metrics.jsonl").read_text().splitlines()
  heldout = [r for r in map(json.loads, lines) if r["split"] == "heldout"]
  assert [r["step"] for r in heldout] == [0, 10, 20, 30]
  # It is trained already: the loss of a new model is log(600) = 6.4.
  assert heldout[0]["loss"] < 5.7
  run(capsys, "evaluate", workdir)


def test_parity_fails_for_models_that_differ(
  trained, tmp_path, monkeypatch, capsys
):
  write = exporting.files.write_weights

  def wrong(folder, tensors):
    name = "bert.encoder.layer.0.output.dense.bias"
    # Not a constant, which a norm would remove.
    ramp = np.linspace(0, 0.01, len(tensors[name]), dtype=np.float32)
    write(folder, {**tensors, name: tensors[name] + ramp})

  monkeypatch.setattr(exporting.files, "write_weights", wrong)
  out = tmp_path / "out"
  arguments = ["export_hf", f"--workdir={trained}", f"--out={out}"]
  assert "the models differ: logits by" in error_of(capsys, *arguments)
  assert not list(tmp_path.iterdir())
  said = run(capsys, *arguments, "--no-parity")
  assert "NOT CHECKED" in said
  assert "NOT CHECKED" in (out / "README.md").read_text()


def test_parity_fails_for_nan():
  with pytest.raises(InputError, match="differ"):
    parity.Parity(logits=float("nan"), hidden=0.0, num_tokens=1).check()


def test_export_without_torch_skips_parity(
  trained, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(parity.importlib.util, "find_spec", lambda name: None)
  out = f"--out={tmp_path}/out"
  said = run(capsys, "export_hf", f"--workdir={trained}", out)
  assert "not checked: torch and transformers are not installed" in said
  assert "not checked" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_native_format_can_be_exported_and_imported(recipe, tmp_path, capsys):
  """A model without an equivalent in transformers."""
  workdir, again = tmp_path / "native", tmp_path / "again"
  run(
    capsys,
    "train",
    f"--config={recipe}",
    f"--workdir={workdir}",
    "--config.model.norm_kind=rms",
    "--config.model.position_kind=alibi",
    "--config.model.glu=True",
    "--config.train.steps=20",
    "--config.train.eval_every=20",
  )
  out = tmp_path / "out"
  said = run(capsys, "export_hf", f"--workdir={workdir}", f"--out={out}")
  assert "native format" in said and "Parity not applicable" in said
  run(capsys, "import_hf", f"--from={out}", f"--workdir={again}")
  ours = run(capsys, "fill_mask", f"--workdir={workdir}", "--text", TEXT)
  assert ours == run(capsys, "fill_mask", f"--workdir={again}", "--text", TEXT)


@pytest.mark.slow
def test_import_with_new_tokens_positions_and_size(exported, tmp_path, capsys):
  words = tmp_path / "words"
  words.write_text("zxcvb\nclass\nqwertz\n")
  larger = tmp_path / "larger.py"
  larger.write_text("""
from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.model.update(num_layers=2, width=64, num_heads=4, mlp_width=128)
  return config
""")
  workdir = tmp_path / "grown"
  run(
    capsys,
    "import_hf",
    f"--from={exported}",
    f"--workdir={workdir}",
    f"--add_tokens={words}",
    "--max_positions=700",
    f"--grow_to={larger}",
  )
  config = Workdir.at(workdir).load_config()
  assert config.model.max_positions == 700
  assert (config.model.num_layers, config.model.width) == (2, 64)
  # "class" may be one piece already.
  assert 601 <= config.data.vocab_size <= 603
  text = "--text=zxcvb [MASK] qwertz"
  said = run(capsys, "fill_mask", f"--workdir={workdir}", text)
  assert "zxcvb" in said
  # Exported again, with the new tokens.
  run(capsys, "export_hf", f"--workdir={workdir}", f"--out={tmp_path}/out")
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
  assert "zxcvb" in tokenizer.tokenize("a zxcvb")


@pytest.fixture
def copy(exported, tmp_path):
  """A copy of the exported model, to be corrupted."""
  folder = tmp_path / "copy"
  folder.mkdir()
  for path in exported.iterdir():
    (folder / path.name).write_bytes(path.read_bytes())
  return folder


def drop(name):
  return lambda folder: (folder / name).unlink()


def rewrite(name, **changes):
  def change(folder):
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(values | changes))

  return change


def headless(folder):
  tensors = load_file(folder / "model.safetensors")
  kept = {k: v for k, v in tensors.items() if not k.startswith("cls.")}
  save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
  rewrite("config.json", architectures=["BertModel"])(folder)


def maskless(folder):
  text = (folder / "tokenizer.json").read_text()
  (folder / "tokenizer.json").write_text(text.replace("[MASK]", "[GAP]"))
  for name in ("tokenizer_config.json", "special_tokens_map.json"):
    values = json.loads((folder / name).read_text())
    del values["mask_token"]
    (folder / name).write_text(json.dumps(values))


def pickled(folder):
  (folder / "model.safetensors").unlink()
  torch.save({}, folder / "pytorch_model.bin")


def write(name, content):
  return lambda folder: (folder / name).write_bytes(content)


def folder_for(name):
  def change(folder):
    (folder / name).unlink()
    (folder / name).mkdir()

  return change


def index(weight_map):
  def change(folder):
    drop("model.safetensors")(folder)
    (folder / "model.safetensors.index.json").write_text(
      json.dumps({"weight_map": weight_map})
    )

  return change


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (drop("config.json"), "no config.json"),
    (folder_for("config.json"), "no config.json"),
    (write("config.json", b"[" * 100_000), "config.json is not JSON"),
    (write("config.json", b"[]"), "is not a JSON object"),
    (rewrite("config.json", model_type=["bert"]), "model_type=['bert']"),
    # Sizes that no memory has: refused before anything is made of them.
    (rewrite("config.json", hidden_size=10**12), "width is 1000000000000"),
    (rewrite("config.json", vocab_size=10**12), "vocab_size is 1000000000000"),
    (rewrite("config.json", num_hidden_layers=10**9), "1000000000 layers"),
    (
      rewrite(
        "config.json",
        model_type="electra",
        embedding_size=10**12,
      ),
      "embedding_width is 1000000000000",
    ),
    (
      rewrite(
        "config.json",
        model_type="albert",
        embedding_size=16,
        num_hidden_layers=10**9,
      ),
      "1000000000 layers",
    ),
    (
      rewrite("config.json", model_type="mlm_jax", vocab_size="600"),
      "lacks 'vocab_size'",
    ),
    (rewrite("config.json", hidden_size=-32), "model.width"),
    (rewrite("config.json", hidden_size="32"), "model.width"),
    (write("model.safetensors", b"\0\0\0\0\2\0\0\0{}"), "header too large"),
    (write("model.safetensors", b"\xff" * 9), "header too large"),
    (write("model.safetensors", b""), "cannot be read"),
    (folder_for("model.safetensors"), "has no model.safetensors"),
    (index(["a"]), "no weight_map"),
    (index({"a": 3}), "no weight_map"),
    (index({"a": "../../etc/passwd"}), "passwd is missing"),
    (write("tokenizer.json", b"{"), "is not a tokenizer.json"),
    (write("tokenizer.json", b"\xff\xfe"), "is not a tokenizer.json"),
    (folder_for("tokenizer.json"), "is not a file"),
    (write("tokenizer_config.json", b"[1]"), "is not a JSON object"),
    (drop("model.safetensors"), "has no model.safetensors"),
    (pickled, "a pickle"),
    (drop("tokenizer.json"), "no tokenizer in"),
    (rewrite("config.json", model_type="gpt2"), "supported: bert, distilbert"),
    (rewrite("config.json", intermediate_size=65), "has shape"),
    (headless, "--new_head"),
    (maskless, "--add_mask_token"),
  ],
)
def test_invalid_folders_are_not_imported(
  change, message, copy, tmp_path, capsys
):
  change(copy)
  workdir = tmp_path / "work"
  line = error_of(capsys, "import_hf", f"--from={copy}", f"--workdir={workdir}")
  assert message in line
  assert not workdir.exists()


def test_new_head_for_an_encoder_without_one(copy, tmp_path, capsys):
  headless(copy)
  workdir = f"--workdir={tmp_path}/work"
  said = run(capsys, "import_hf", f"--from={copy}", workdir, "--new_head")
  assert "random head" in said
  assert "hidden states differ" in said
  assert "logits" not in said
  run(capsys, "fill_mask", workdir, "--text", TEXT)


def test_add_mask_token_to_a_tokenizer_without_one(copy, tmp_path, capsys):
  maskless(copy)
  workdir = f"--workdir={tmp_path}/work"
  run(capsys, "import_hf", f"--from={copy}", workdir, "--add_mask_token")
  run(capsys, "fill_mask", workdir, "--text", TEXT)


def test_existing_folders_are_not_overwritten(
  trained, exported, imported, capsys
):
  out = f"--out={exported}"
  line = error_of(capsys, "export_hf", f"--workdir={trained}", out)
  assert "already exists" in line
  arguments = [f"--from={exported}", f"--workdir={imported}"]
  assert "already exists" in error_of(capsys, "import_hf", *arguments)


@pytest.mark.parametrize(
  ("source", "message"),
  [
    ("./nowhere", "is not a folder"),
    ("no/such/name", "neither a folder nor a repository"),
    ("somebody/some-model", "the hub"),
  ],
)
def test_unknown_sources_are_input_errors(
  source, message, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
  line = error_of(
    capsys, "import_hf", f"--from={source}", f"--workdir={tmp_path}/work"
  )
  assert message in line


def tokenizer_limit(folder):
  values = json.loads((folder / "tokenizer_config.json").read_text())
  return values["model_max_length"]


def test_texts_are_cut_where_learned_positions_were_trained(
  trained, exported, imported, tmp_path, capsys
):
  config = Workdir.at(trained).load_config()
  length, positions = config.data.seq_len, config.model.max_positions
  assert config.model.position_kind == "learned" and length < positions
  assert tokenizer_limit(exported) == length
  assert (
    f"| maximum length | {length} tokens |"
    in (exported / "README.md").read_text()
  )
  # An import records it; an explicit --max_tokens takes precedence.
  assert Workdir.at(imported).trained_length(0) == length
  arguments = [f"--workdir={imported}", "--no-parity"]
  said = run(capsys, "export_hf", *arguments, f"--out={tmp_path}/a")
  assert f"from there to {positions} were never trained" in said
  said = run(
    capsys,
    *("export_hf", *arguments, f"--out={tmp_path}/b", "--max_tokens=40"),
  )
  assert "never trained" not in said
  assert tokenizer_limit(tmp_path / "b") == 40
  line = error_of(
    capsys,
    *("export_hf", *arguments, f"--out={tmp_path}/c"),
    f"--max_tokens={positions + 1}",
  )
  assert "--max_tokens" in line and "model.max_positions" in line
  line = error_of(
    capsys,
    *("export_hf", *arguments, f"--out={tmp_path}/c", "--max_tokens=-5"),
  )
  assert "--max_tokens=-5 must be from 3" in line
  texts = tmp_path / "texts"
  texts.write_text("a class " * length)
  vectors = f"--out={tmp_path}/v.npy"
  said = run(
    capsys, "embed", f"--workdir={trained}", f"--texts={texts}", vectors
  )
  assert f"truncated to the {length} tokens" in said


def test_a_tokenizer_without_a_limit_gets_the_models(copy, tmp_path, capsys):
  rewrite("tokenizer_config.json", model_max_length=None)(copy)
  run(capsys, "import_hf", f"--from={copy}", f"--workdir={tmp_path}/w")
  positions = Workdir.at(tmp_path / "w").load_config().model.max_positions
  run(capsys, "export_hf", f"--workdir={tmp_path}/w", f"--out={tmp_path}/out")
  assert tokenizer_limit(tmp_path / "out") == positions


def test_models_of_few_positions_are_compared_within_them(
  recipe, tmp_path, capsys
):
  workdir = f"--workdir={tmp_path}/w"
  run(
    capsys,
    *("train", f"--config={recipe}", workdir, "--config.train.steps=2"),
    *("--config.model.max_positions=32", "--config.data.seq_len=32"),
    *("--config.train.checkpoint_every=2", "--config.optim.warmup_steps=1"),
  )
  said = run(capsys, "export_hf", workdir, f"--out={tmp_path}/out")
  assert "Parity checked" in said
  said = run(
    capsys, "import_hf", f"--from={tmp_path}/out", f"--workdir={tmp_path}/i"
  )
  assert "Parity checked" in said


def test_what_transformers_raises_is_one_line(
  copy, tmp_path, capsys, monkeypatch
):
  def fails(*_, **__):
    raise ZeroDivisionError("of a class of models\nand more")

  monkeypatch.setattr(transformers.BertForMaskedLM, "forward", fails)
  line = error_of(
    capsys, "import_hf", f"--from={copy}", f"--workdir={tmp_path}/w"
  )
  assert "ZeroDivisionError: of a class of models; --no-parity" in line


@pytest.mark.parametrize("pads", [0, 1])
def test_positions_are_counted_by_the_models_padding(
  pads, tmp_path, capsys, copy
):
  """RoBERTa's padding may not be its tokenizer's, which pads with 0 here."""
  size = json.loads((copy / "config.json").read_text())["vocab_size"]
  torch.manual_seed(0)
  config = transformers.RobertaConfig(
    vocab_size=size,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=48,
    max_position_embeddings=258,
    type_vocab_size=1,
    pad_token_id=pads,
  )
  transformers.RobertaForMaskedLM(config).save_pretrained(copy)
  said = run(capsys, "import_hf", f"--from={copy}", f"--workdir={tmp_path}/w")
  assert "Parity checked" in said
  assert ("positions are counted" in said) == (pads == 1)
  config = Workdir.at(tmp_path / "w").load_config()
  assert config.model.max_positions == 258 - pads - 1
  said = run(
    capsys, "export_hf", f"--workdir={tmp_path}/w", f"--out={tmp_path}/out"
  )
  assert "Parity checked" in said
