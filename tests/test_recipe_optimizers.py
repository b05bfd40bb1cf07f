"""Recipes have the optimizers and learning rates of their papers."""

import jax
import numpy as np
import pytest

from mlm_jax import recipes
from mlm_jax.training import schedules


@pytest.mark.parametrize(
  ("recipe", "optimizer", "rates"),
  [
    # Lan et al. 2020: LAMB at 1.76e-3, linear; one rate for all sizes.
    *(
      (
        f"albert_{size}",
        "lamb",
        {1_562: 8.797e-4, 3_125: 1.76e-3, 64_062: 8.8e-4, 125_000: 0},
      )
      for size in ("base", "large", "xlarge", "xxlarge")
    ),
    # Warner et al. 2024: 3B tokens of warm-up at 768 rows, then constant; 1 -
    # sqrt over the last 84,772 steps.
    (
      "modernbert_base",
      "stable_adamw",
      {
        1_907: 4e-4,
        3_815: 8e-4,
        374_901: 8e-4,
        374_902: 3e-4,
        883_530 - 84_772 * 3 // 4: 1.5e-4,
      },
    ),
    (
      "modernbert_large",
      "stable_adamw",
      {3_000: 5e-4, 100_000: 5e-4},
    ),
    # The authors' repository: 6% warm-up, linear to 2%.
    (
      "mosaicbert_base",
      "adamw",
      {2_100: 2.5e-4, 4_200: 5e-4, 37_100: 2.55e-4, 70_000: 1e-5},
    ),
    # Le Breton et al. 2025: a cosine to 10% over 90%, then constant.
    (
      "neobert",
      "adamw",
      {1_000: 3e-4, 2_000: 6e-4, 451_000: 3.3e-4, 900_000: 6e-5, 1e6: 6e-5},
    ),
    # Raffel et al. 2020: 1 / sqrt(step), from step 10,000 on.
    *(
      (recipe, "adafactor", {0: 0.01, 1e4: 0.01, 4e4: 5e-3, 1e6 // 4: 2e-3})
      for recipe in ("t5_small", "t5_base")
    ),
    # Devlin et al. 2019: linear, across the boundary of the phases.
    (
      "bert_base",
      "adamw",
      {5_000: 5e-5, 10_000: 1e-4, 505_000: 5e-5, 950_000: 5e-6 / 0.99, 1e6: 0},
    ),
  ],
)
def test_rates_are_the_papers(recipe, optimizer, rates):
  found = []
  for step in map(int, rates):
    # The step after so many belongs to the phase that it begins.
    phase = recipes.load(recipe).phase_at(step + 1)
    assert phase.config.optim.name == optimizer
    rate = jax.jit(schedules.of_phase(phase.config, phase.first_step))
    found.append(float(rate(step)))
  np.testing.assert_allclose(found, list(rates.values()), rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(
  ("recipe", "decay"),
  [
    # A step's decay of the weights at the peak: 1e-5 in both repositories.
    ("mosaicbert_base", 1e-5),
    ("mosaicbert_large", 1e-5),
    ("modernbert_base", 1e-5),
    ("modernbert_large", 1e-5),
    # Times the learning rate.
    ("bert_base", 0.01 * 1e-4),
    ("albert_base", 0.01 * 1.76e-3),
    ("neobert", 0.1 * 6e-4),
  ],
)
def test_weight_decay_a_step_is_the_papers(recipe, decay):
  optim = recipes.load(recipe).base.optim
  assert optim.decay_per_rate * optim.peak_lr == pytest.approx(decay)


@pytest.mark.parametrize(
  ("recipe", "rates"),
  [
    # The authors' schedule budget-triangle2: a quarter, all at 75%, none.
    ("crammed", {0: 2.5e-4, 9: 6.25e-4, 18: 1e-3, 21: 5e-4, 24: 0}),
    # Izsak et al. 2021: 6% of warm-up, linear.
    ("academic", {0: 0, 0.72: 5e-4, 1.44: 1e-3, 12.72: 5e-4, 24: 0}),
  ],
)
def test_budgets_of_a_day_follow_the_clock(recipe, rates):
  config = recipes.load(recipe).base
  assert config.train.hours == 24
  at = schedules.of_phase(config)
  found = [float(at(hours)) for hours in rates]
  np.testing.assert_allclose(found, [*rates.values()], rtol=1e-4, atol=1e-9)
