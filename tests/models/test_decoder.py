"""What a decoder's tokens attend to, in their own row and the encoder's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.models.composite import (
  ConditionalMaskedLM,
  EncoderDecoder,
  init_params,
)
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.vocabulary import Vocabulary

VOCAB = Vocabulary(
  size=300, pad_id=0, unk_id=1, start_id=2, end_id=3, mask_id=4
)

KINDS = [
  {},
  {"model.position_kind": "rope", "model.norm_placement": "pre"},
  {
    "model.position_kind": "relative",
    "model.norm_kind": "rms",
    "model.norm_placement": "pre",
    "model.relative_distance": 20,
  },
  {"model.num_kv_heads": 2, "model.position_kind": "alibi"},
]

# Two documents, of other lengths in the encoder than in the decoder.
ENCODED = [[2, 10, 11, 12, 3, 2, 20, 21, 3, 0]]
DECODED = [[2, 30, 31, 3, 2, 40, 41, 42, 3, 0, 0]]


@pytest.fixture
def make_model(make_config, vocab):
  """Returns a function of overrides: a model, and its random parameters."""

  def make(cls=EncoderDecoder, **overrides):
    names = ("seq2seq", "bart")
    if cls is ConditionalMaskedLM:
      names = ("cmlm", "cmlm")
    config = make_config(
      **{
        "model.num_decoder_layers": 2,
        "objective.name": names[0],
        "corruption.kind": names[1],
        **overrides,
      }
    )
    model = cls(config.model, vocab.size)
    params = nn.unbox(init_params(model, jax.random.key(0)))
    noise = lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape)
    return model, jax.tree.map(noise, params)

  return make


def arrays(*rows):
  for ids in rows:
    ids = jnp.array(ids)
    yield from (ids, *segments_and_positions(ids, VOCAB))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_packed_documents_decode_as_if_alone(kind, make_model):
  model, params = make_model(**kind)
  decode = lambda *rows: np.asarray(
    model.apply({"params": params}, *arrays(*rows)).logits_BPV[..., :300]
  )
  together = decode(ENCODED, DECODED)[0]
  first = decode([ENCODED[0][:5]], [DECODED[0][:4]])[0]
  second = decode([ENCODED[0][5:9]], [DECODED[0][4:9]])[0]
  np.testing.assert_allclose(together[:4], first, atol=2e-5)
  np.testing.assert_allclose(together[4:9], second, atol=2e-5)


def influence(model, params, causal):
  """Returns the largest gradient of each output by each token of both rows."""
  table = params["encoder"]["token_embedding"]
  # Each position has a token of its own, so that their gradients are separate.
  lengths = len(ENCODED[0]), len(DECODED[0])
  own = [100 + jnp.arange(lengths[0]), 150 + jnp.arange(lengths[1])]
  both = list(arrays(ENCODED, DECODED))
  first = jnp.concatenate([table[both[0][0]], table[both[3][0]]])
  both[0], both[3] = own[0][None], own[1][None]

  def outputs(vectors):
    new = table.at[jnp.concatenate(own)].set(vectors)
    changed = params["encoder"] | {"token_embedding": new}
    decoder = model.bind({"params": params | {"encoder": changed}})
    encoded = decoder.encoder(*both[:3])
    return decoder.decoder(
      decoder.encoder.embeddings.token_table_VE,
      encoded,
      both[1],
      *both[3:],
      causal=causal,
    )[0]

  jacobian = jax.jit(jax.jacobian(outputs))(first)
  found = np.abs(np.asarray(jacobian)).max(axis=(1, 3))
  return np.split(found, [lengths[0]], axis=1)


ENCODED_SEGMENTS = np.array([1] * 5 + [2] * 4 + [0])
DECODED_SEGMENTS = np.array([1] * 4 + [2] * 5 + [0] * 2)
REAL = DECODED_SEGMENTS > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [True, False])
def test_no_leakage_from_later_tokens_or_other_documents(
  kind, causal, make_model
):
  model, params = make_model(**kind)
  encoded, decoded = influence(model, params, causal=causal)
  own = DECODED_SEGMENTS[:, None] == DECODED_SEGMENTS
  if causal:
    own &= np.tri(len(DECODED_SEGMENTS), dtype=bool)
  assert (decoded[REAL][~own[REAL]] == 0).all()
  assert (decoded[REAL][own[REAL]] > 0).all()
  matching = DECODED_SEGMENTS[:, None] == ENCODED_SEGMENTS
  assert (encoded[REAL][~matching[REAL]] == 0).all()
  assert (encoded[REAL][matching[REAL]] > 0).all()


def test_length_is_predicted_from_its_own_document(make_model):
  model, params = make_model(ConditionalMaskedLM)
  row = ENCODED[0]
  predict = lambda row: np.asarray(
    model.apply({"params": params}, *arrays([row]), method="encode")[1]
  )
  first = predict(row)
  second = predict([*row[:6], 99, *row[7:]])
  np.testing.assert_array_equal(first[0, 0], second[0, 0])
  assert np.abs(first[0, 5] - second[0, 5]).max() > 1e-4
