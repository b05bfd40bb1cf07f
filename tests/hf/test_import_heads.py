"""Encoder-decoders, heads of pairs and ELECTRA's two come back, and train."""

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
def test_encoder_decoders_come_back(
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
def test_heads_of_sentence_pairs_come_back(
  name, architecture, values, kind, released, corpus, tmp_path, capsys
):
  folder, workdir = released(name, architecture, values), tmp_path / "on"
  arguments = [f"--from={folder}", f"--workdir={workdir}"]
  said = run(capsys, "import_hf", *arguments, "--sentence_pairs")
  assert "head of pairs checked: logits differ by" in said
  assert "Not used" not in said
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
  assert "Not used of the weights" in said and classifier[0] in said


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
def test_electras_generator_and_discriminator_come_back(
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


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (["--generator={disc}"], "has width=32"),
    (["--generator={gen}", "--new_head"], "import a model as it is"),
    (["--sentence_pairs"], "electra has no head of sentence pairs"),
  ],
)
def test_models_that_do_not_go_together_are_refused(
  change, message, released, tmp_path, capsys
):
  discriminator, generator = electra(released)
  if "disc" in change[0]:
    # A generator of the discriminator's size, which has other embeddings.
    generator = released(
      "other", "ElectraForMaskedLM", BERT | {"embedding_size": 16}
    )
    message = "which they share"
  start = generator if change == ["--sentence_pairs"] else discriminator
  change = [part.format(disc=generator, gen=generator) for part in change]
  capsys.readouterr()
  arguments = [f"--from={start}", f"--workdir={tmp_path}/w", "--no-parity"]
  assert main(["import_hf", *arguments, *change]) == 2
  assert message in capsys.readouterr().err
  assert not (tmp_path / "w").exists()
