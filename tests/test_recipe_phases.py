"""Phases of recipes have the numbers of their papers (docstrings cite them)."""

import bisect

import jax
import pytest

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.training import schedules

B = 1_000_000_000

# recipe: for each phase its tokens, length, first and last batch size, learning
# rate at the end of the warm-up and of the phase, tokens of that warm-up, decay
# of weights per step at the peak, mask rate, RoPE bases of global and local
# layers.
PHASES = {
  # Devlin et al. 2019: 900,000 and 100,000 steps.
  "bert_base": {
    "length_128": (900_000 * 256 * 128, 128, 256, 256)
    + (1e-4, 1e-5 / 0.99, 10_000 * 256 * 128, 1e-6, 0.15, None, None),
    "length_512": (100_000 * 256 * 512, 512, 256, 256)
    + (1e-5 / 0.99, 0, 0, 1e-7 / 0.99, 0.15, None, None),
  },
  # Warner et al. 2024, table 3.
  "modernbert_base": {
    "pretraining": (1719 * B, 1024, 768, 4608)
    + (8e-4, 8e-4, 3 * B, 1e-5, 0.3, 1e4, 1e4),
    "context_extension": (250 * B, 8192, 72, 72)
    + (3e-4, 3e-4, 0, 1e-5, 0.3, 1.6e5, 1e4),
    "decay": (50 * B, 8192, 72, 72) + (3e-4, 0, 0, 1e-5, 0.3, 1.6e5, 1e4),
  },
  "modernbert_large": {
    "pretraining": (900 * B, 1024, 448, 4928)
    + (5e-4, 5e-4, 2 * B, 1e-5, 0.3, 1e4, 1e4),
    "lower_rate": (800 * B, 1024, 4928, 4928)
    + (5e-5, 5e-5, 0, 1e-6, 0.3, 1e4, 1e4),
    "context_extension": (250 * B, 8192, 77, 77)
    + (5e-5, 5e-5, 0, 1e-6, 0.3, 1.6e5, 1e4),
    "decay": (50 * B, 8192, 78, 78) + (5e-5, 0, 0, 1e-6, 0.3, 1.6e5, 1e4),
  },
  # Le Breton et al. 2025: a cosine over 90% of the first million steps.
  "neobert": {
    "cosine": (900_000 * 2048 * 1024, 1024, 2048, 2048)
    + (6e-4, 6e-5, 2_000 * 2048 * 1024, 6e-5, 0.2, 1e4, None),
    "constant": (100_000 * 2048 * 1024, 1024, 2048, 2048)
    + (6e-5, 6e-5, 0, 6e-6, 0.2, 1e4, None),
    "length_4096": (50_000 * 512 * 4096, 4096, 512, 512)
    + (6e-5, 6e-5, 0, 6e-6, 0.2, 1e4, None),
  },
  # Boizard et al. 2025.
  "eurobert_210m": {
    "pretraining": (4800 * B, 2048, 4608, 4608)
    + (1e-4, 1e-4, 2_000 * 4608 * 2048, 1e-5, 0.5, 1e4, None),
    "annealing": (200 * B, 8192, 1152, 1152)
    + (1e-4, 0, 0, 1e-5, 0.1, 2.5e5, None),
  },
  # Marone et al. 2025: the authors' configuration files.
  "mmbert_base": {
    "pretraining": (2300 * B, 1024, 48, 4608)
    + (8e-4, 8e-4, 3 * B, 8e-5, 0.3, 1e4, 1e4),
    "context_extension": (600 * B, 8192, 4608, 4608)
    + (8e-4, 8e-4, 0, 8e-5, 0.15, 1.6e5, 1.6e5),
    "decay": (100 * B, 8192, 4608, 4608)
    + (8e-4, 1.6e-5, 0, 8e-5, 0.05, 1.6e5, 1.6e5),
  },
  "mmbert_small": {
    "pretraining": (2300 * B, 1024, 48, 4608)
    + (8e-4, 8e-4, 4 * B, 8e-5, 0.3, 1e4, 1e4),
    "context_extension": (600 * B, 8192, 4608, 4608)
    + (4e-4, 4e-4, 0, 4e-5, 0.15, 1.6e5, 1.6e5),
    "decay": (100 * B, 8192, 4608, 4608)
    + (4e-4, 1.6e-5, 0, 4e-5, 0.05, 1.6e5, 1.6e5),
  },
}
# Sizes of one recipe.
PHASES["eurobert_610m"] = PHASES["eurobert_2_1b"] = PHASES["eurobert_210m"]

# Weller et al. 2025, the authors' configuration files: learning rate, weight
# decay, billions of tokens of its warm-up, first batch size, tokens of the last
# two phases, RoPE base of local layers in the second.
ETTIN = {
  "17m": (3e-3, 3e-4, 4, 144, 250 * B, 50 * B, 1e4),
  "32m": (3e-3, 3e-4, 4, 128, 250 * B, 50 * B, 1.6e5),
  "68m": (3e-3, 3e-4, 3, 96, 250 * B, 50 * B, 1.6e5),
  "150m": (8e-4, 1e-5, 3, 72, 250 * B, 50 * B, 1.6e5),
  "400m": (5e-4, 1e-5, 2, 48, 250 * B, 50 * B, 1.6e5),
  "1b": (5e-4, 5e-5, 2, 24, 83_333_000_000, 16_666_666_667, 1.6e5),
}
for size, (rate, decay, warmup, first, second, third, local) in ETTIN.items():
  PHASES[f"ettin_{size}"] = {
    "pretraining": (1700 * B, 1024, first, 4608)
    + (rate, rate, warmup * B, decay, 0.3, 1e4, 1e4),
    "context_extension": (second, 7999, 4608, 4608)
    + (rate, rate / 2, 0, decay, 0.3, 1.6e5, local),
    "decay": (third, 7999, 4608, 4608)
    + (rate / 2, rate / 50, 0, decay, 0.15, 1.6e5, 1.6e5),
  }
CASES = [(r, phase) for r, phases in PHASES.items() for phase in phases]


def test_every_recipe_of_several_phases_is_pinned():
  several = [r for r in recipes.shipped() if len(recipes.load(r).phases) > 1]
  # Another head and another size have the phases of BERT-base.
  assert {*several} == {*PHASES, "bert_large", "bert_nsp_base"}
  for name, pinned in PHASES.items():
    assert [p.name for p in recipes.load(name).phases] == [*pinned]


@pytest.mark.parametrize(("recipe", "name"), CASES)
def test_phases_are_the_papers(recipe, name):
  phase = next(p for p in recipes.load(recipe).phases if p.name == name)
  tokens, length, first, last, *rest = PHASES[recipe][name]
  peak, final, warmup, decay, mask_rate, theta, local_theta = rest
  config = phase.config
  timeline = config.timeline
  assert config.data.seq_len == length <= config.model.max_positions
  # A phase ends with the batch that has its last token.
  over = timeline.num_rows * length - tokens
  assert 0 <= over < last * length
  sizes = timeline.batch_sizes
  assert (sizes[0], sizes[-1]) == (first, last)
  assert config.corruption.mask_rate == mask_rate
  optim = config.optim
  assert optim.decay_per_rate * optim.peak_lr == pytest.approx(decay)
  if theta:
    assert config.model.rope_theta == theta
  if local_theta:
    assert config.model.local_rope_theta == local_theta
  at = jax.jit(schedules.of_phase(config, phase.first_step))
  end = config.optim_in_steps.warmup_steps
  assert 0 <= end * last * length - warmup < last * length
  # The first step that has trained on so many rows.
  steps = range(timeline.num_steps)
  end = bisect.bisect_left(steps, end * last, key=timeline.rows_before)
  assert at(phase.first_step + end) == pytest.approx(peak, rel=1e-3)
  assert at(phase.last_step) == pytest.approx(final, rel=1e-4, abs=1e-10)


@pytest.mark.parametrize(
  ("recipe", "tokens"),
  [
    ("modernbert_base", 50 * B),
    ("modernbert_large", 10 * B),
    ("ettin_17m", 125 * B),
    ("ettin_32m", 100 * B),
    ("ettin_68m", 75 * B),
    ("ettin_150m", 50 * B),
    ("ettin_400m", 10 * B),
    ("ettin_1b", 3 * B),
    ("mmbert_base", 60 * B),
    ("mmbert_small", 100 * B),
  ],
)
def test_batches_grow_over_the_papers_tokens(recipe, tokens):
  timeline = recipes.load(recipe).phases[0].config.timeline
  assert len(timeline.stages) <= 9
  full = timeline.stages[-1]
  found = timeline.rows_before(full.first_step) * timeline.seq_len
  assert found == pytest.approx(tokens, rel=3e-3)


@pytest.mark.parametrize("recipe", [*PHASES, "bert_large", "bert_nsp_base"])
def test_phases_do_not_reach_into_variants(recipe):
  for variant in ("tiny", "single"):
    assert len(recipes.load(f"{recipe}:{variant}").phases) == 1


# The authors' files of cross-objective training: rate, first batch size,
# billions of tokens of the phase, its warm-up and its decay.
CROSS = {
  "17m": (1.5e-3, 12, 50, 3, 10),
  "32m": (1.5e-3, 12, 50, 3, 10),
  "68m": (1.5e-3, 8, 50, 3, 10),
  "150m": (4e-4, 12, 50, 3, 10),
  "400m": (2.5e-4, 4, 50, 3, 10),
  "1b": (2.5e-4, 2, 16.666666667, 1, 3.333),
}


@pytest.mark.parametrize("size", CROSS)
@pytest.mark.parametrize("variant", ["from_decoder", "to_decoder"])
def test_ettins_last_phase_has_the_other_objective(size, variant):
  name = f"ettin_{size}"
  first, last = ("causal_lm", "mlm")
  if variant == "to_decoder":
    first, last = last, first
  found = recipes.load(f"{name}:{variant}").phases
  assert [p.config.objective.name for p in found] == [first] * 3 + [last]
  assert [p.name for p in found[:3]] == [*PHASES[name]]
  for phase, encoder in zip(found, recipes.load(name).phases, strict=False):
    assert phase.config.timeline == encoder.config.timeline
    assert phase.config.optim == encoder.config.optim
  rate, rows, tokens, warmup, decay = CROSS[size]
  config = found[3].config
  optim, train = config.optim, config.train
  assert (optim.peak_lr, train.initial_batch_size) == (rate, rows)
  assert [train.tokens, optim.warmup_tokens, optim.decay_tokens] == [
    pytest.approx(n * B, abs=1) for n in (tokens, warmup, decay)
  ]
  assert train.batch_warmup_tokens == 10 * B and train.reset_optimizer
  assert (optim.schedule, optim.final_lr_share) == ("linear", 0.02)
  assert config.data.seq_len == 7999
  assert config.model.rope_theta == config.model.local_rope_theta == 1.6e5
  if last == "mlm":
    assert config.corruption.mask_rate == 0.15


@pytest.mark.parametrize("size", CROSS)
def test_ettins_decoder_is_trained_like_its_encoder(size):
  decoder = recipes.load(f"ettin_{size}:decoder").phases
  encoder = recipes.load(f"ettin_{size}").phases
  for one, other in zip(decoder, encoder, strict=True):
    changed = config_lib.changed(one.config, other.config)
    assert {*changed} == {"objective.name", "corruption.kind"}


@pytest.mark.parametrize("name", ["mmbert_base", "mmbert_small"])
def test_languages_are_sampled_by_their_sizes(name):
  """Marone et al. 2025: size^tau, with tau of 0.7, 0.5 and 0.3."""
  recipe = recipes.load(
    name,
    {
      "data.sources.en.corpus": "text:en",
      "phases.decay.data.sources.fo.corpus": "text:fo",
    },
  )
  data = [phase.config.data for phase in recipe.phases]
  assert [d.size_exponent for d in data] == [0.7, 0.5, 0.3]
  assert [list(d.corpora) for d in data] == [["en"], ["en"], ["en", "fo"]]
