"""Recipes have the number of parameters of the published models."""

import functools
import math

import jax
import jax.numpy as jnp
import pytest
import torch
import transformers as hf

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.models.composite import Discriminator, EncoderDecoder, MaskedLM
from mlm_jax.models.encoder import Encoder


@functools.cache
def build(name):
  return config_lib.build(recipes.read(name).values)


def ours(name, model_class=None):
  """Returns a recipe's number of parameters, less what pads the vocabulary."""
  config = build(name)
  decodes = config.model.num_decoder_layers > 0
  model_class = model_class or (EncoderDecoder if decodes else MaskedLM)
  return count_parameters(config.model, config.data.vocab_size, model_class)


@functools.cache  # Several recipes have the same model.
def count_parameters(config, vocab_size, model_class):
  ids = jnp.zeros([1, 8], jnp.int32)
  inputs = [ids] * getattr(model_class, "num_arrays", 3)
  # Of an embedding for each token, and what the head has beside it.
  row = config.table_width
  if model_class in (MaskedLM, EncoderDecoder):
    row += config.head_bias
    row += 0 if config.tie_embeddings else config.table_width
  model = model_class(config, vocab_size)
  params = jax.eval_shape(model.init, jax.random.key(0), *inputs)
  padding = -vocab_size % 128
  return sum(leaf.size for leaf in jax.tree.leaves(params)) - padding * row


def theirs(model_class, **values):
  """Returns a Hugging Face model's number of parameters, tied ones once."""
  with torch.device("meta"):
    model = model_class(model_class.config_class(**values))
  model.tie_weights()
  return sum(parameter.numel() for parameter in model.parameters())


def size(layers, width, heads, mlp_width, **more):
  return {
    "num_hidden_layers": layers,
    "hidden_size": width,
    "num_attention_heads": heads,
    "intermediate_size": mlp_width,
    **more,
  }


BASE, LARGE = size(12, 768, 12, 3072), size(24, 1024, 16, 4096)
BERT = {
  "vocab_size": 30_522,
  "max_position_embeddings": 512,
  "type_vocab_size": 2,
}


def bert(**size):
  return theirs(hf.BertForMaskedLM, **BERT, **size)


def spanbert(**size):
  return theirs(hf.BertForMaskedLM, **BERT | {"vocab_size": 28_996}, **size)


def roberta(vocab_size=50_265, **size):
  values = {"max_position_embeddings": 514, "type_vocab_size": 1, **size}
  count = theirs(hf.RobertaForMaskedLM, vocab_size=vocab_size, **values)
  # Its positions start at 2.
  return count - 2 * size["hidden_size"]


def albert(**size):
  values = BERT | {"vocab_size": 30_000, "embedding_size": 128, **size}
  return theirs(hf.AlbertForMaskedLM, **values)


def electra(model_class=hf.ElectraForMaskedLM, embedding_size=0, **size):
  embedding_size = embedding_size or size["hidden_size"]
  return theirs(model_class, embedding_size=embedding_size, **BERT, **size)


def distilbert():
  values = {"n_layers": 6, "dim": 768, "n_heads": 12, "hidden_dim": 3072}
  return theirs(
    hf.DistilBertForMaskedLM,
    vocab_size=30_522,
    max_position_embeddings=512,
    **values,
  )


def modernbert(**size):
  no = ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")
  values = {"vocab_size": 50_368, "decoder_bias": True, **size}
  return theirs(hf.ModernBertForMaskedLM, **dict.fromkeys(no, False), **values)


def eurobert(**size):
  no = ("attention_bias", "mlp_bias", "tie_word_embeddings")
  values = {"vocab_size": 128_256, **size}
  return theirs(hf.EuroBertForMaskedLM, **dict.fromkeys(no, False), **values)


def nomic_bert(**size):
  values = {"vocab_size": 30_528, "type_vocab_size": 2, **size}
  return theirs(hf.NomicBertForMaskedLM, **values)


def t5(vocab_size=32_100, **values):
  return theirs(hf.T5ForConditionalGeneration, vocab_size=vocab_size, **values)


def bart(width=768, heads=12, mlp_width=3072, **values):
  halves = {
    f"{half}_{key}": value
    for half in ("encoder", "decoder")
    for key, value in {
      "layers": 6,
      "attention_heads": heads,
      "ffn_dim": mlp_width,
    }.items()
  }
  values |= {"d_model": width}
  count = theirs(hf.BartForConditionalGeneration, **halves, **values)
  # Positions start at 2, in both halves.
  return count - 2 * 2 * width


def bart_over_bert(**size):
  """BART over BERT's vocabulary and positions, with a bias on the logits."""
  count = bart(vocab_size=30_522, max_position_embeddings=512, **size)
  return count + 30_522


def mosaicbert(layers, width, mlp_width):
  """The tensors of bert_layers.py in mosaicml/examples."""
  norm = [(width,), (width,)]
  layer = [
    (3 * width, width),
    (3 * width,),
    (width, width),
    (width,),
    *norm,
    (2 * mlp_width, width),
    (width, mlp_width),
    (width,),
    *norm,
  ]
  head = [(width, width), (width,), *norm, (30_528,)]
  shapes = [(30_528, width), (2, width), *norm, *layers * layer, *head]
  return sum(math.prod(shape) for shape in shapes)


def crammed():
  """The tensors of crammed_bert.py in JonasGeiping/cramming, but for two.

  Ours has a table of positions, and no first norm after that of embeddings.
  """
  norm = [(768,), (768,)]
  layer = [*norm, *4 * [(768, 768)], *norm, (3072, 768), (768, 1536)]
  shapes = [(32_768, 768), *norm, *16 * layer, *norm]
  count = sum(math.prod(shape) for shape in shapes)
  return count + 128 * 768 - 2 * 768


def pre_norm_bert():
  """The tensors of modeling.py in IntelLabs/academic-budget-bert.

  A norm after the last layer is there in place of that of embeddings.
  """
  return bert(**LARGE)


def neobert():
  """The tensors of model.py in chandar-lab/NeoBERT."""
  layer = [
    (3 * 768, 768),
    (768, 768),
    (768,),
    (2 * 2048, 768),
    (768, 2048),
    (768,),
  ]
  decoder = [(30_522, 768), (30_522,)]
  shapes = [(30_522, 768), *28 * layer, (768,), *decoder]
  return sum(math.prod(shape) for shape in shapes)


# The published hyper-parameters, as the reference implementation calls them,
# and the number of its parameters: without pooler, with the head for tokens.
# The vocabulary of mmBERT.
GEMMA = {"vocab_size": 256_000}

PUBLISHED = [
  ("bert_base", bert, BASE, 109_514_298),
  ("bert_nsp_base", bert, BASE, 109_514_298),
  ("causal_base", bert, BASE, 109_514_298),
  ("prefix_lm_base", bert, BASE, 109_514_298),
  ("bert_large", bert, LARGE, 335_174_458),
  ("spanbert_base", spanbert, BASE, 108_340_804),
  ("spanbert_large", spanbert, LARGE, 333_610_308),
  ("roberta_base", roberta, BASE, 124_695_897),
  ("roberta_large", roberta, LARGE, 355_410_009),
  ("xlm_roberta_base", roberta, {"vocab_size": 250_002} | BASE, 278_293_650),
  ("xlm_roberta_large", roberta, {"vocab_size": 250_002} | LARGE, 560_140_434),
  ("albert_base", albert, BASE, 11_221_680),
  ("albert_large", albert, LARGE, 16_795_824),
  ("albert_xlarge", albert, size(24, 2048, 32, 8192), 54_821_040),
  ("albert_xxlarge", albert, size(12, 4096, 64, 16_384), 206_368_944),
  (
    "electra_small",
    electra,
    size(12, 256, 4, 1024, embedding_size=128),
    13_546_682,
  ),
  ("electra_base", electra, BASE, 109_514_298),
  ("electra_large", electra, LARGE, 335_174_458),
  ("distilbert_base", distilbert, {}, 66_985_530),
  (
    "mosaicbert_base",
    mosaicbert,
    {"layers": 12, "width": 768, "mlp_width": 3072},
    137_400_384,
  ),
  (
    "mosaicbert_large",
    mosaicbert,
    {"layers": 24, "width": 1024, "mlp_width": 4096},
    435_221_312,
  ),
  ("modernbert_base", modernbert, size(22, 768, 12, 1152), 149_655_232),
  ("modernbert_large", modernbert, size(28, 1024, 16, 2624), 395_881_664),
  ("ettin_17m", modernbert, size(7, 256, 4, 384), 16_913_600),
  ("ettin_32m", modernbert, size(10, 384, 6, 576), 32_081_344),
  ("ettin_68m", modernbert, size(19, 512, 8, 768), 68_457_664),
  ("ettin_150m", modernbert, size(22, 768, 12, 1152), 149_655_232),
  ("ettin_400m", modernbert, size(28, 1024, 16, 2624), 395_881_664),
  ("ettin_1b", modernbert, size(28, 1792, 28, 3840), 1_031_314_112),
  ("mmbert_small", modernbert, size(22, 384, 6, 1152, **GEMMA), 140_897_536),
  ("mmbert_base", modernbert, size(22, 768, 12, 1152, **GEMMA), 307_786_240),
  ("neobert", neobert, {}, 245_136_954),
  ("eurobert_210m", eurobert, BASE, 310_266_624),
  (
    "eurobert_610m",
    eurobert,
    size(26, 1152, 18, 4096, num_key_value_heads=6),
    755_625_600,
  ),
  (
    "eurobert_2_1b",
    eurobert,
    size(32, 2304, 18, 6144, num_key_value_heads=6),
    2_403_092_736,
  ),
  ("nomic_bert", nomic_bert, BASE, 137_354_304),
  ("crammed", crammed, {}, 119_686_656),
  ("academic", pre_norm_bert, {}, 335_174_458),
  ("t5_small", t5, {}, 60_492_288),
  (
    "t5_base",
    t5,
    {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    222_882_048,
  ),
  ("bart_base", bart, {}, 139_417_344),
  ("mass_base", bart_over_bert, {}, 123_498_810),
  (
    "cmlm_base",
    bart_over_bert,
    {"width": 512, "heads": 8, "mlp_width": 2048},
    60_322_618,
  ),
]


def test_every_recipe_but_our_own_is_a_published_model():
  names = set(recipes.shipped()) - {"quickstart", "speedrun"}
  assert names == {name for name, *_ in PUBLISHED}


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "reference", "values", "published"),
  PUBLISHED,
  ids=[name for name, *_ in PUBLISHED],
)
def test_parameters_are_as_many_as_published(
  name, reference, values, published
):
  assert ours(name) == reference(**values) == published


@pytest.mark.parametrize("name", ["small", "base", "large"])
def test_electra_has_the_parameters_of_a_discriminator(name):
  name = f"electra_{name}"
  values = next(values for known, _, values, _ in PUBLISHED if known == name)
  published = electra(hf.ElectraForPreTraining, **values)
  assert ours(name, Discriminator) == published


@pytest.mark.parametrize(
  ("name", "model_class", "published"),
  [
    ("mosaicbert_base", Encoder, 137_000_000),
    ("mosaicbert_large", Encoder, 434_000_000),
    ("neobert", MaskedLM, 250_000_000),
    ("ettin_17m", MaskedLM, 17_000_000),
    ("ettin_32m", MaskedLM, 32_000_000),
    ("ettin_68m", MaskedLM, 68_000_000),
    ("ettin_150m", MaskedLM, 150_000_000),
    ("ettin_400m", MaskedLM, 400_000_000),
    ("ettin_1b", MaskedLM, 1_000_000_000),
    ("mmbert_small", MaskedLM, 140_000_000),
    ("mmbert_base", MaskedLM, 308_000_000),
    ("eurobert_210m", Encoder, 210_000_000),
    ("eurobert_610m", Encoder, 610_000_000),
    ("eurobert_2_1b", Encoder, 2_100_000_000),
  ],
)
def test_sizes_round_to_those_in_papers(name, model_class, published):
  zeros = len(str(published)) - len(str(published).rstrip("0"))
  assert round(ours(name, model_class), -zeros) == published
