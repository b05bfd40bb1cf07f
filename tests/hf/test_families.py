"""Every family, imported and exported: equal logits, states and gradients."""

import json

import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from mlm_jax.config import Config, DataConfig, EncoderConfig
from mlm_jax.errors import InputError
from mlm_jax.hf import families, files, parity, weights
from mlm_jax.hf.families.bert import ELECTRA_DISCRIMINATOR
from mlm_jax.models.composite import Discriminator, MaskedLM
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives import bind
from tests.hf.peers import FAMILIES, electra_discriminator, make_peer

CASES = [(name, seed) for name in FAMILIES for seed in (1, 9)]


def test_the_cases_cover_the_differences_between_families():
  configs = [
    families.of_config(values).read_config(values)
    for values in (
      make_peer(FAMILIES[name], seed).config.to_dict() for name, seed in CASES
    )
  ]
  assert any(c.kv_heads < c.num_heads for c in configs)
  assert any(c.embedding_width and not c.share_layers for c in configs)
  assert any(c.share_layers and c.num_layers > 1 for c in configs)
  assert any(c.window and c.num_layers > c.global_every for c in configs)
  assert {c.tie_embeddings for c in configs} == {True, False}
  assert {c.num_layers for c in configs} == {1, 2, 4}


def read(folder, vocab):
  values = files.read_config(folder)
  family = families.of_config(values)
  config = family.read_config(values)
  tensors = files.Weights(folder)
  return family, config, weights.from_tensors(tensors, config, vocab, family)


def write(folder, family, config, params, vocab):
  folder.mkdir()
  files.write_config(folder, family.write_config(config, vocab))
  files.write_weights(folder, weights.to_tensors(params, vocab, family))


def logits_of(peer, ids):
  with torch.inference_mode():
    return peer(input_ids=torch.tensor(ids)).logits.numpy()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), CASES)
def test_import_and_export_have_parity(name, seed, peer_vocab, docs, tmp_path):
  peer = make_peer(FAMILIES[name], seed)
  peer.save_pretrained(tmp_path / "theirs")
  vocab = peer_vocab(peer)

  family, config, params = read(tmp_path / "theirs", vocab)
  assert family.model_type == peer.config.model_type
  model = MaskedLM(config, vocab.size)
  found = parity.measure(
    model, params, vocab, docs, tmp_path / "theirs", family
  )
  assert 0 < found.logits < parity.TOLERANCE
  assert 0 < found.hidden < parity.TOLERANCE

  write(tmp_path / "ours", family, config, params, vocab)
  again, loaded = type(peer).from_pretrained(
    tmp_path / "ours", output_loading_info=True
  )
  assert not any(loaded.values()), loaded
  ids = [docs[2]]
  np.testing.assert_allclose(
    logits_of(again, ids), logits_of(peer, ids), atol=1e-6
  )

  same = read(tmp_path / "ours", vocab)
  assert same[:2] == (family, config)
  write(tmp_path / "twice", *same, vocab)
  for file in ("config.json", "model.safetensors"):
    once = (tmp_path / "ours" / file).read_bytes()
    assert once == (tmp_path / "twice" / file).read_bytes()


def gradients(params, config, vocab, ids, targets):
  """Returns the gradients of the mean cross entropy over all targets."""
  data = DataConfig(seq_len=len(ids))
  objective = bind(Config(model=config, data=data), vocab)
  batch = {
    "input_ids": np.array([ids]),
    "target_positions": np.arange(len(ids))[None],
    "target_ids": np.array([targets]).clip(0),
    "target_weights": (np.array([targets]) >= 0).astype(np.float32),
  }

  def loss(params):
    sums = objective.loss_sums(params, batch)["mlm"]
    return sums["loss"] / batch["target_weights"].sum()

  return jax.jit(jax.grad(loss))(params)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_equal_those_of_transformers(
  name, peer_vocab, docs, tmp_path
):
  peer = make_peer(FAMILIES[name], seed=3)
  peer.save_pretrained(tmp_path)
  vocab = peer_vocab(peer)
  family, config, params = read(tmp_path, vocab)
  ids = docs[2].copy()
  targets = [-100] * len(ids)
  for i in (3, 4, 11, 30):
    targets[i], ids[i] = ids[i], vocab.mask_id
  ours = gradients(params, config, vocab, ids, targets)
  ours = weights.to_tensors(ours, vocab, family)

  labels = torch.tensor([targets])
  peer.zero_grad()
  peer(input_ids=torch.tensor([ids]), labels=labels).loss.backward()
  # Saved as weights, the gradients have the names of tensors in files.
  unused = {n for n, p in peer.named_parameters() if p.grad is None}
  with torch.no_grad():
    for parameter in peer.parameters():
      if parameter.grad is not None:
        parameter.copy_(parameter.grad)
  peer.save_pretrained(tmp_path / "gradients")
  theirs = load_file(tmp_path / "gradients" / "model.safetensors")
  assert set(ours) == set(theirs)
  for tensor, expected in theirs.items():
    if tensor in unused:
      continue
    difference = np.abs(ours[tensor] - expected).max()
    # In torch, padding rows get no gradient; that of key biases is rounding.
    scale = max(np.abs(expected).max(), 1e-2)
    if "embedding" in tensor or "embed_tokens" in tensor:
      rows = np.arange(len(expected)) != vocab.pad_id
      difference = np.abs(ours[tensor] - expected)[rows].max()
    assert difference < 1e-3 * scale, tensor


def test_discriminator_logits_equal_those_of_transformers(
  peer_vocab, docs, tmp_path
):
  peer = make_peer(electra_discriminator, seed=1)
  peer.save_pretrained(tmp_path)
  vocab, family = peer_vocab(peer), ELECTRA_DISCRIMINATOR
  config = family.read_config(files.read_config(tmp_path))
  tensors = files.Weights(tmp_path)
  params = weights.from_tensors(tensors, config, vocab, family, Discriminator)
  ids = np.array([docs[2]])
  segments, positions = segments_and_positions(ids, vocab)
  model = Discriminator(config, vocab.size)
  ours = model.apply({"params": params}, ids, segments, positions)
  np.testing.assert_allclose(ours, logits_of(peer, ids), atol=1e-4)
  exported = weights.to_tensors(params, vocab, family)
  for name, tensor in tensors.items():
    np.testing.assert_array_equal(exported[name], tensor)


def test_of_model_without_an_equivalent_family(vocab):
  unsupported = MaskedLM(
    EncoderConfig(norm_kind="rms", position_kind="alibi"), vocab.size
  )
  assert families.of_model(unsupported, vocab) is None
  with pytest.raises(InputError, match="no model of family 'bert'"):
    families.of_model(unsupported, vocab, "bert")
  with pytest.raises(InputError, match="did you mean 'roberta'"):
    families.of_model(MaskedLM(EncoderConfig(), vocab.size), vocab, "robert")
  assert (
    families.of_model(MaskedLM(EncoderConfig(), vocab.size), vocab).model_type
    == "bert"
  )


def test_native_tensors_keep_every_array(make_config, make_run, vocab):
  config = make_config()
  params = make_run(config).init_state().params
  tensors = weights.to_tensors(params, vocab, None)
  again = weights.from_tensors(tensors, config.model, vocab, None)
  # Without the rows that pad the vocabulary.
  flat = weights.to_tensors(again, vocab, None)
  for name, tensor in tensors.items():
    np.testing.assert_array_equal(flat[name], tensor)


NOMIC_2024 = {
  "hidden_size": "n_embd",
  "num_hidden_layers": "n_layer",
  "num_attention_heads": "n_head",
  "intermediate_size": "n_inner",
  "max_position_embeddings": "n_positions",
  "layer_norm_eps": "layer_norm_epsilon",
}


@pytest.mark.parametrize("prefix", ["bert.", "nomic_bert."])
def test_nomic_bert_is_read_as_it_was_spelled_in_2024(
  prefix, peer_vocab, tmp_path
):
  peer = make_peer(FAMILIES["nomic_bert"], seed=1)
  peer.save_pretrained(tmp_path)
  vocab = peer_vocab(peer)
  today = read(tmp_path, vocab)
  values = json.loads((tmp_path / "config.json").read_text())
  older = {
    NOMIC_2024.get(key, key): value
    for key, value in values.items()
    if key not in ("rope_parameters", "head_dim", "hidden_act")
  }
  older |= {"activation_function": "swiglu", "rotary_emb_base": 1000}
  (tmp_path / "config.json").write_text(json.dumps(older))
  tensors = load_file(tmp_path / "model.safetensors")
  tensors = {n.replace("nomic_bert.", prefix): t for n, t in tensors.items()}
  save_file(tensors, tmp_path / "model.safetensors")
  family, config, params = read(tmp_path, vocab)
  assert family.older_spelling and config == today[1]
  jax.tree.map(np.testing.assert_array_equal, params, today[2])


def alibi_bert(tensors, ids, heads):
  """Returns logits of MosaicBERT (Portes et al. 2023), written from the paper.

  Attention is linearly less to farther tokens, a head's slope is a power of
  2^(-8/heads), and MLPs are gated.
  """
  tensors = {k: torch.tensor(v) for k, v in tensors.items()}
  linear = lambda x, name: torch.nn.functional.linear(
    x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
  )
  norm = lambda x, name: torch.nn.functional.layer_norm(
    *(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"]),
    eps=1e-12,
  )
  gelu = torch.nn.functional.gelu
  table = tensors["bert.embeddings.word_embeddings.weight"]
  types = tensors["bert.embeddings.token_type_embeddings.weight"]
  x = norm(table[torch.tensor(ids)] + types[0], "bert.embeddings.LayerNorm")
  index = torch.arange(len(ids))
  distance = (index[:, None] - index).abs()
  slopes = 2.0 ** (-8 / heads * torch.arange(1, heads + 1))
  bias = -slopes[:, None, None] * distance
  for layer in range(2):
    block = f"bert.encoder.layer.{layer}"
    q, k, v = (
      part.reshape(len(ids), heads, -1).transpose(0, 1)
      for part in linear(x, f"{block}.attention.self.Wqkv").chunk(3, -1)
    )
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + bias
    seen = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(ids), -1)
    seen = linear(seen, f"{block}.attention.output.dense")
    x = norm(x + seen, f"{block}.attention.output.LayerNorm")
    gated, other = linear(x, f"{block}.mlp.gated_layers").chunk(2, -1)
    out = linear(gelu(gated) * other, f"{block}.mlp.wo")
    x = norm(x + out, f"{block}.mlp.layernorm")
  head = "cls.predictions.transform"
  x = norm(gelu(linear(x, f"{head}.dense")), f"{head}.LayerNorm")
  return x @ table.T + tensors["cls.predictions.bias"]


def test_mosaic_bert_computes_what_its_paper_says(tmp_path, vocab):
  rng, heads, width, mlp = np.random.default_rng(0), 4, 16, 24
  shapes = {
    "bert.embeddings.word_embeddings.weight": [vocab.size, width],
    "bert.embeddings.token_type_embeddings.weight": [2, width],
    "bert.embeddings.LayerNorm.weight": [width],
    "bert.embeddings.LayerNorm.bias": [width],
    "cls.predictions.transform.dense.weight": [width, width],
    "cls.predictions.transform.dense.bias": [width],
    "cls.predictions.transform.LayerNorm.weight": [width],
    "cls.predictions.transform.LayerNorm.bias": [width],
    "cls.predictions.bias": [vocab.size],
  }
  for layer in range(2):
    of_block = {
      "attention.self.Wqkv.weight": [3 * width, width],
      "attention.self.Wqkv.bias": [3 * width],
      "attention.output.dense.weight": [width, width],
      "attention.output.dense.bias": [width],
      "attention.output.LayerNorm.weight": [width],
      "attention.output.LayerNorm.bias": [width],
      "mlp.gated_layers.weight": [2 * mlp, width],
      "mlp.wo.weight": [width, mlp],
      "mlp.wo.bias": [width],
      "mlp.layernorm.weight": [width],
      "mlp.layernorm.bias": [width],
    }
    shapes |= {
      f"bert.encoder.layer.{layer}.{k}": v for k, v in of_block.items()
    }
  tensors = {
    name: rng.normal(size=shape).astype(np.float32) / 2
    for name, shape in shapes.items()
  }
  save_file(tensors, tmp_path / "model.safetensors")
  values = {
    "model_type": "bert",
    "vocab_size": vocab.size,
    "hidden_size": width,
    "num_hidden_layers": 2,
    "num_attention_heads": heads,
    "intermediate_size": mlp,
    "max_position_embeddings": 64,
    "alibi_starting_size": 64,
    "auto_map": {"AutoModelForMaskedLM": "bert_layers.BertForMaskedLM"},
  }
  (tmp_path / "config.json").write_text(json.dumps(values))
  _, config, params = read(tmp_path, vocab)
  ids = [vocab.start_id, *rng.integers(10, vocab.size, 20), vocab.end_id]
  rows = np.array([ids])
  segments, positions = segments_and_positions(rows, vocab)
  logits = MaskedLM(config, vocab.size).apply(
    {"params": params}, rows, segments, positions, positions
  )
  expected = alibi_bert(tensors, ids, heads)
  found = logits.logits_BPV[0, :, : vocab.size]
  np.testing.assert_allclose(found, expected, atol=1e-4)
  # "bert" is where it comes from: no BERT computes it.
  model = MaskedLM(config, vocab.size)
  assert families.of_model(model, vocab, preferred="bert") is None
  assert families.of_model(model, vocab) is None


def test_a_model_is_recognised_by_its_tensors(bert):
  folder, _ = bert
  names = files.Weights(folder)
  values = {"model_type": None}
  assert families.of_config(values, names).model_type == "bert"
  # Without their prefix, BERT's and RoBERTa's names are the same.
  bare = [name.removeprefix("bert.") for name in names]
  with pytest.raises(InputError, match=r"no model_type.*one of bert, electra"):
    families.of_config(values, bare)
  with pytest.raises(InputError, match="no model_type"):
    families.of_config(values, ["something"])


@pytest.fixture
def bert(tmp_path, peer_vocab):
  peer = make_peer(FAMILIES["bert"], seed=1)
  peer.save_pretrained(tmp_path)
  return tmp_path, peer_vocab(peer)


def test_old_tensor_names_and_ignored_tensors(bert):
  folder, vocab = bert
  before = read(folder, vocab)[2]
  tensors = load_file(folder / "model.safetensors")
  renamed = {
    name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
      "LayerNorm.bias", "LayerNorm.beta"
    ): tensor
    for name, tensor in tensors.items()
  }
  renamed["bert.pooler.dense.weight"] = np.zeros([3, 3], np.float32)
  renamed["cls.seq_relationship.bias"] = np.zeros(2, np.float32)
  renamed["bert.embeddings.position_ids"] = np.arange(3)
  save_file(renamed, folder / "model.safetensors")
  jax.tree.map(np.testing.assert_array_equal, read(folder, vocab)[2], before)


def corrupt(tensors, how):
  name = "bert.encoder.layer.0.output.dense.weight"
  if how == "missing":
    del tensors[name]
  elif how == "unknown":
    tensors["bert.encoder.layer.0.adapter.weight"] = np.zeros(1, np.float32)
  elif how == "shape":
    tensors[name] = tensors[name][:-1].copy()
  elif how == "copy":
    tied = tensors["bert.embeddings.word_embeddings.weight"]
    tensors["cls.predictions.decoder.weight"] = tied + 1


@pytest.mark.parametrize(
  ("how", "message"),
  [
    ("missing", "lack bert.encoder.layer.0.output.dense.weight"),
    ("unknown", "unknown bert.encoder.layer.0.adapter.weight"),
    ("shape", "output.dense.weight has shape"),
    ("copy", "decoder.weight differs from bert.embeddings.word_embeddings"),
  ],
)
def test_invalid_weights_are_named(how, message, bert):
  folder, vocab = bert
  values = json.loads((folder / "config.json").read_text())
  assert values["tie_word_embeddings"]
  tensors = load_file(folder / "model.safetensors")
  corrupt(tensors, how)
  save_file(tensors, folder / "model.safetensors")
  with pytest.raises(InputError, match=message):
    read(folder, vocab)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"model_type": "bertt"}, "'bertt'.*supported: bert, distilbert"),
    ({"model_type": "deberta-v2"}, "relative positions would be a second"),
    ({"position_embedding_type": "relative_key"}, "only 'absolute'"),
    ({"hidden_act": "mish"}, "known: swish, silu, relu, gelu"),
    ({"hidden_size": None}, "lacks .hidden_size."),
  ],
)
def test_unsupported_configs_are_input_errors(change, message, bert):
  folder, vocab = bert
  values = json.loads((folder / "config.json").read_text())
  (folder / "config.json").write_text(json.dumps(values | change))
  with pytest.raises(InputError, match=message):
    read(folder, vocab)


def test_irregular_layer_types_are_an_input_error(tmp_path, peer_vocab):
  peer = make_peer(FAMILIES["modernbert"], seed=2)
  peer.save_pretrained(tmp_path)
  values = json.loads((tmp_path / "config.json").read_text())
  values["num_hidden_layers"] = 4
  values["layer_types"] = ["sliding_attention"] * 3 + ["full_attention"]
  (tmp_path / "config.json").write_text(json.dumps(values))
  with pytest.raises(InputError, match="layer_types"):
    read(tmp_path, peer_vocab(peer))


def test_a_pickle_is_never_read(tmp_path):
  (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
  with pytest.raises(InputError, match=r"a pickle.*save_pretrained"):
    files.Weights(tmp_path)


def test_sharded_weights_are_read_together(bert):
  folder, vocab = bert
  before = read(folder, vocab)[2]
  peer = transformers.BertForMaskedLM.from_pretrained(folder)
  (folder / "model.safetensors").unlink()
  peer.save_pretrained(folder, max_shard_size="5KB")
  assert len(list(folder.glob("*.safetensors"))) > 1
  jax.tree.map(np.testing.assert_array_equal, read(folder, vocab)[2], before)


def test_bfloat16_weights_are_read_exactly(bert):
  folder, vocab = bert
  peer = transformers.BertForMaskedLM.from_pretrained(folder)
  peer.to(torch.bfloat16).save_pretrained(folder)
  params = read(folder, vocab)[2]
  table = peer.get_input_embeddings().weight.float().detach().numpy()
  ours = params["encoder"]["token_embedding"]
  assert ours.dtype == np.float32
  np.testing.assert_array_equal(ours[: len(table)], table)
