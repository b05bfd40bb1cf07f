"""Encoder-decoders, heads of pairs and both models of ELECTRA are imported."""

import json
import re

import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import models, normalizers, pre_tokenizers

from mlm_jax.cli.main import main
from mlm_jax.data.tokenizers.tokenizer_files import template
from mlm_jax.workdir import Workdir
from tests.conftest import records

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTINELS = [f"<extra_id_{n}>" for n in range(20)]
SIZE = 160

BERT = {
  "hidden_size": 32,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 48,
  "max_position_embeddings": 64,
}
T5 = {
  "d_model": 32,
  "d_kv": 16,
  "d_ff": 48,
  "num_layers": 2,
  "num_decoder_layers": 1,
  "num_heads": 2,
  "n_positions": 64,
}
BART = {
  "d_model": 32,
  "encoder_layers": 2,
  "decoder_layers": 1,
  "encoder_attention_heads": 2,
  "decoder_attention_heads": 2,
  "encoder_ffn_dim": 48,
  "decoder_ffn_dim": 48,
  "max_position_embeddings": 64,
}
BART_CLASS = "BartForConditionalGeneration"
SMALL = {"num_layers": 1, "width": 32, "num_heads": 2, "mlp_width": 48}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


def write_tokenizer(folder):
  letters = "abcdefghijklmnopqrstuvwxyz.,'"
  pieces = [*SPECIALS, *SENTINELS, *letters, *("##" + c for c in letters)]
  ids = {piece: i for i, piece in enumerate(pieces)}
  made = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
  made.normalizer = normalizers.BertNormalizer()
  made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  made.add_special_tokens([*SPECIALS, *SENTINELS])
  made.post_processor = template(("[CLS]", 2), ("[SEP]", 3))
  made.save(str(folder / "tokenizer.json"))
  names = ("pad", "unk", "cls", "sep", "mask")
  config = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": 64,
    "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    **{
      f"{name}_token": token
      for name, token in zip(names, SPECIALS, strict=True)
    },
  }
  (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture
def released(tmp_path):
  """Returns a function that writes a random model of transformers."""

  def write(name, architecture, values):
    cls = getattr(transformers, architecture)
    torch.manual_seed(len(name))
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    peer = cls(cls.config_class(vocab_size=SIZE, **ids, **values))
    with torch.no_grad():
      for parameter in peer.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    peer.save_pretrained(tmp_path / name)
    write_tokenizer(tmp_path / name)
    return tmp_path / name

  return write


def run(capsys, *argv):
  capsys.readouterr()
  assert main([str(argument) for argument in argv]) == 0
  return capsys.readouterr().out


def train(workdir, corpus, capsys, *options):
  """Trains a few steps; returns the records of training."""
  run(
    capsys,
    *("train", f"--workdir={workdir}", f"--config.data.corpus=text:{corpus}"),
    *("--config.data.seq_len=32", "--config.train.batch_size=8"),
    *("--config.train.steps=4", "--config.optim.warmup_steps=1"),
    *("--config.train.log_every=2", "--config.train.eval_every=4"),
    *("--config.train.eval_batches=1", "--config.train.checkpoint_every=4"),
    *("--config.data.heldout_fraction=0.1", *options),
  )
  return [r for r in records(workdir) if r["split"] == "train"]


def tensors_of(folder):
  return load_file(folder / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "architecture", "values", "kind"),
  [
    ("t5", "T5ForConditionalGeneration", T5, "span_corruption"),
    ("t5-v1.1", "T5ForConditionalGeneration", T5 | GATED, "span_corruption"),
    ("bart", "BartForConditionalGeneration", BART, "bart"),
  ],
)
def test_encoder_decoders_are_imported_and_trained(
  name, architecture, values, kind, released, corpus, tmp_path, capsys
):
  folder = released(name, architecture, values)
  if name == "t5-v1.1":
    tensors = tensors_of(folder)
    tensors["lm_head.weight"] = torch.randn([SIZE, 32])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
  workdir = tmp_path / "on"
  said = run(capsys, "import_hf", f"--from={folder}", f"--workdir={workdir}")
  assert "Parity checked: logits differ" in said
  config = Workdir.at(workdir).load_config()
  assert (config.objective.name, config.corruption.kind) == ("seq2seq", kind)
  assert config.model.tie_embeddings == (name != "t5-v1.1")
  out = tmp_path / "out"
  said = run(capsys, "export_hf", f"--workdir={workdir}", f"--out={out}")
  assert "Parity checked: logits differ" in said and architecture in said
  ours, theirs = tensors_of(out), tensors_of(folder)
  for tensor, value in ours.items():
    expected = theirs[tensor]
    if "embed_positions" in tensor:
      value, expected = value[2:], expected[2:]  # BART has two unused rows.
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
  assert train(workdir, corpus, capsys)[-1]["step"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "architecture", "values", "kind"),
  [
    ("bert", "BertForPreTraining", BERT, "nsp"),
    ("albert", "AlbertForPreTraining", BERT | {"embedding_size": 16}, "sop"),
  ],
)
def test_heads_of_sentence_pairs_are_imported_and_trained(
  name, architecture, values, kind, released, corpus, tmp_path, capsys
):
  folder, workdir = released(name, architecture, values), tmp_path / "on"
  arguments = [f"--from={folder}", f"--workdir={workdir}"]
  said = run(capsys, "import_hf", *arguments, "--sentence_pairs")
  assert "head of pairs checked: logits differ by" in said
  assert "Unused tensors" not in said
  config = Workdir.at(workdir).load_config()
  assert config.corruption.sentence_pairs == kind
  out = tmp_path / "out"
  said = run(capsys, "export_hf", f"--workdir={workdir}", f"--out={out}")
  assert "head of pairs checked: logits differ by" in said
  assert architecture in said
  ours, theirs = tensors_of(out), tensors_of(folder)
  classifier = [n for n in theirs if "seq_relation" in n or "sop_" in n]
  for tensor, value in ours.items():
    expected = theirs[tensor]
    if tensor in classifier:
      # Only the difference of the two logits means anything.
      value, expected = value[0] - value[1], expected[0] - expected[1]
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
  assert "pair_loss" in train(workdir, corpus, capsys)[-1]
  # Without it, what was left out is named.
  said = run(
    capsys, "import_hf", f"--from={folder}", f"--workdir={tmp_path}/mlm"
  )
  assert "Unused tensors: " in said and classifier[0] in said


@pytest.mark.slow
def test_a_released_model_gets_better_on_ones_own_text(
  released, corpus, tmp_path, capsys
):
  """Import, evaluate, train by a recipe, evaluate, export."""
  workdir = tmp_path / "on"
  folder = released("bert", "BertForMaskedLM", BERT)
  run(capsys, "import_hf", f"--from={folder}", f"--workdir={workdir}")

  def loss():
    said = run(
      capsys, "evaluate", f"--workdir={workdir}", f"--corpus=text:{corpus}"
    )
    return float(re.search(r"loss +([\d.]+)", said)[1])

  before = loss()
  options = ["--config=bert_base:single", "--config.train.steps=40"]
  train(workdir, corpus, capsys, *options, "--config.optim.peak_lr=0.01")
  assert loss() < before - 0.5
  run(capsys, "export_hf", f"--workdir={workdir}", f"--out={tmp_path}/out")
  model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
  assert type(model) is transformers.BertForMaskedLM


def electra(released):
  discriminator = released(
    "disc", "ElectraForPreTraining", BERT | {"embedding_size": 16}
  )
  generator = released(
    "gen",
    "ElectraForMaskedLM",
    BERT
    | {
      "embedding_size": 16,
      "hidden_size": 16,
      "num_attention_heads": 1,
      "intermediate_size": 24,
    },
  )
  theirs, shared = tensors_of(generator), tensors_of(discriminator)
  theirs |= {
    name: tensor.clone()
    for name, tensor in shared.items()
    if name.startswith("electra.embeddings.")
  }
  file = generator / "model.safetensors"
  save_file(theirs, file, metadata={"format": "pt"})
  return discriminator, generator


@pytest.mark.slow
def test_electras_two_models_are_imported_and_trained(
  released, corpus, tmp_path, capsys
):
  folders, workdir = electra(released), tmp_path / "on"
  discriminator, generator = folders
  arguments = [f"--from={discriminator}", f"--generator={generator}"]
  said = run(capsys, "import_hf", *arguments, f"--workdir={workdir}")
  assert said.count("checked: logits differ by") == 2
  config = Workdir.at(workdir).load_config()
  assert config.objective.name == "rtd"
  assert config.objective.generator_share == 0.5
  for part, folder in zip(("discriminator", "generator"), folders, strict=True):
    out = tmp_path / f"out_{part}"
    arguments = [f"--workdir={workdir}", f"--part={part}", f"--out={out}"]
    run(capsys, "export_hf", *arguments)
    ours, theirs = tensors_of(out), tensors_of(folder)
    for tensor, value in ours.items():
      torch.testing.assert_close(value, theirs[tensor], rtol=0, atol=0)
  assert "rtd_loss" in train(workdir, corpus, capsys)[-1]


def other_embeddings(generator):
  file = generator / "model.safetensors"
  tensors = tensors_of(generator)
  tensors["electra.embeddings.word_embeddings.weight"] += 1
  save_file(tensors, file, metadata={"format": "pt"})


def other_width(generator):
  file = generator / "model.safetensors"
  tensors = tensors_of(generator)
  for name, tensor in tensors.items():
    if "intermediate.dense" in name:
      tensors[name] = tensor[:20].clone()
    elif name.endswith("output.dense.weight") and "attention" not in name:
      tensors[name] = tensor[:, :20].clone()
  save_file(tensors, file, metadata={"format": "pt"})
  values = json.loads((generator / "config.json").read_text())
  values["intermediate_size"] = 20
  (generator / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
  ("change", "options", "message"),
  [
    (other_embeddings, ["--generator={}"], "which they share"),
    (other_width, ["--generator={}"], "the generator has mlp_width=20"),
    (None, ["--generator={}", "--new_head"], "import a model as it is"),
    (None, ["--generator=./no"], "--generator=./no is not a folder"),
    (None, ["--sentence_pairs"], "electra has no head of sentence pairs"),
  ],
)
def test_models_that_do_not_match_raise_input_error(
  change, options, message, released, tmp_path, capsys
):
  discriminator, generator = electra(released)
  if change:
    change(generator)
  start = generator if options == ["--sentence_pairs"] else discriminator
  options = [option.format(generator) for option in options]
  capsys.readouterr()
  arguments = [f"--from={start}", f"--workdir={tmp_path}/w", "--no-parity"]
  assert main(["import_hf", *arguments, *options]) == 2
  assert message in capsys.readouterr().err
  assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_positions_of_both_stacks_are_extended(released, tmp_path, capsys):
  folder, workdir = released("bart", BART_CLASS, BART), tmp_path / "on"
  arguments = [f"--from={folder}", f"--workdir={workdir}"]
  run(capsys, "import_hf", *arguments, "--max_positions=100")
  said = run(
    capsys, "export_hf", f"--workdir={workdir}", f"--out={tmp_path}/out"
  )
  assert "Parity checked" in said
  theirs = tensors_of(folder)
  for name, tensor in tensors_of(tmp_path / "out").items():
    if "embed_positions" in name:
      again = torch.cat([theirs[name][2:], theirs[name][2:38]])
      torch.testing.assert_close(tensor[2:], again)


@pytest.mark.parametrize("option", ["--new_head", "--grow_to=t5_base"])
def test_a_decoder_is_not_dropped(option, released, tmp_path, capsys):
  folder = released("t5", "T5ForConditionalGeneration", T5)
  capsys.readouterr()
  arguments = [f"--from={folder}", f"--workdir={tmp_path}/w", option]
  assert main(["import_hf", *arguments]) == 2
  assert "t5 has a decoder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_under_the_encoders_name_is_the_shared_one(
  released, tmp_path, capsys
):
  folder = released("t5", "T5ForConditionalGeneration", T5)
  tensors = tensors_of(folder)
  tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
  save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
  said = run(capsys, "import_hf", f"--from={folder}", f"--workdir={tmp_path}/w")
  assert "Parity checked" in said and "Unused" not in said


@pytest.mark.slow
def test_a_head_of_other_pairs_is_not_exported(
  released, corpus, tmp_path, capsys
):
  """BERT's head is of NSP: one that learned SOP would be taken for it."""
  workdir = tmp_path / "on"
  options = ["--config=bert_base:single", "--config.data.packing=single"]
  options += ["--config.corruption.sentence_pairs=sop"]
  options += [f"--config.model.{k}={v}" for k, v in SMALL.items()]
  options += ["--config.data.tokenizer=bpe", "--config.data.vocab_size=400"]
  train(workdir, corpus, capsys, *options)
  arguments = [f"--workdir={workdir}", "--no-parity"]
  said = run(capsys, "export_hf", *arguments, f"--out={tmp_path}/out")
  assert "Not exported, as BertForMaskedLM has none: the head pair" in said
  assert (
    "| not exported | the head pair |"
    in (tmp_path / "out" / "README.md").read_text()
  )
