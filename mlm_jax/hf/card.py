"""The model card: what was trained, on what, how well, and how to load it."""

import dataclasses
import json
from collections.abc import Sequence

import flax.linen as nn

from mlm_jax import __version__, registry
from mlm_jax.config import Config, EncoderConfig
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.hf.families.base import Family
from mlm_jax.models.composite import Discriminator, EncoderDecoder, MaskedLM
from mlm_jax.objectives.base import Objective
from mlm_jax.phases import Recipe
from mlm_jax.training.metrics import read_records
from mlm_jax.workdir import Workdir

# Model -> the hub's name of its task.
_TASKS = {
  MaskedLM: "fill-mask",
  Discriminator: "feature-extraction",
  EncoderDecoder: "text2text-generation",
}


def write(
  recipe: Recipe,
  exported: nn.Module,
  workdir: Workdir,
  family: Family | None,
  parity: str,
  *,
  step: int,
  max_tokens: int,
  lost_heads: Sequence[str] = (),
  pool: str = "mean",
  origin: dict[str, str],
) -> str:
  """Returns the card, Markdown with the hub's front matter.

  Args:
    recipe: the run's recipe.
    exported: the exported model.
    workdir: the run's work directory, for its metrics.
    family: the family it was exported as; None is the native format.
    parity: the result of the parity check.
    step: the training step of the weights.
    max_tokens: of the longest text.
    lost_heads: those that were trained, and are not exported.
    pool: how sentence-transformers pools.
    origin: what `import_hf` recorded of the model that training started from.
  """
  config = recipe.phase_at(step).config
  objective = registry.OBJECTIVES[config.objective.name]
  task = next(t for cls, t in _TASKS.items() if isinstance(exported, cls))
  model, started = exported.config, origin.get("from") or "random weights"
  kind = "encoder-decoder" if model.num_decoder_layers else "encoder"
  table = {
    **_architecture(model, kind),
    "maximum length": f"{max_tokens} tokens",
    "vocabulary": f"{config.data.vocab_size:,} tokens",
    **_training(recipe, step),
    "held-out loss": _heldout_loss(workdir, objective, step),
    "held-out corruption": _heldout_corruption(config),
    "parity": parity,
  }
  if lost_heads:
    table["not exported"] = f"the head {', '.join(lost_heads)}"
  rows = "\n".join(f"| {name} | {value} |" for name, value in table.items())
  # A card is published: it must not name local paths.
  published = dataclasses.replace(recipe, path="")
  return f"""---
library_name: {"transformers" if family else "mlm_jax"}
pipeline_tag: {task}
tags: [mlm_jax, {"masked-lm" if task == "fill-mask" else "pre-training"}]
---

# A text {kind} pre-trained with {objective.title}

Trained with mlm_jax {__version__} for {step:,} steps, from {started}.

| | |
|---|---|
{rows}

## Use

{_use(family, task, pool)}
## Configuration

```json
{json.dumps(published.to_json(), indent=2)}
```
"""


def _architecture(model: EncoderConfig, kind: str) -> dict[str, str]:
  """Returns the sizes of what was trained, by name."""
  decoder = model.num_decoder_layers
  layers = f"{model.num_layers} + {decoder}" if decoder else model.num_layers
  return {
    kind: f"{layers} layers of {model.width}, {model.num_heads} heads, MLP of "
    f"{model.mlp_width}",
  }


def _training(recipe: Recipe, step: int) -> dict[str, str]:
  """Returns how the weights of a step were trained, by name.

  Of a run with several phases, each one until the step has a row.
  """
  last = recipe.phase_at(step)
  if not recipe.diffs:
    return _settings(last.config)
  rows = {}
  for phase in recipe.phases[: 1 + recipe.phases.index(last)]:
    end = step if phase is last else phase.last_step
    settings = _settings(phase.config).items()
    rows[f"phase {phase.name}"] = "; ".join(
      [
        f"{end - phase.first_step:,} steps",
        *(f"{name}: {setting}" for name, setting in settings),
      ]
    )
  return rows


def _settings(config: Config) -> dict[str, str]:
  """Returns what a phase is trained on and how, by name."""
  data, optim = config.data, config.optim
  batch_size = f"{config.train.batch_size:,}"
  if config.train.initial_batch_size:
    batch_size = f"{config.train.initial_batch_size:,} to {batch_size}"
  return {
    "data": f"{_corpora(config)}, {data.heldout_fraction:.2%} of "
    "documents held out",
    "rows": f"{data.seq_len} tokens, {data.packing} packing, "
    f"{batch_size} a step",
    "corruption": corruption_lib.bind(config.corruption).describe(),
    "optimizer": f"{optim.name}, peak learning rate {optim.peak_lr:g}, "
    f"{optim.schedule}",
  }


def _corpora(config: Config) -> str:
  """Returns what a phase reads, with the weights of several sources."""
  if not config.data.sources:
    return f"`{config.data.corpus or 'none'}`"
  return ", ".join(
    f"{name} `{source.corpus}` (weight {source.weight:g})"
    for name, source in config.data.sources.items()
  )


def _use(family: Family | None, task: str, pool: str) -> str:
  if family is None:
    return """transformers has no equivalent model. Load this one with mlm_jax:

```
python -m mlm_jax import_hf --from=THIS_FOLDER --workdir=DIR
python -m mlm_jax fill_mask --workdir=DIR
python -m mlm_jax embed --workdir=DIR --texts=FILE --out=OUT.npy
```
"""
  use = """fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
fill(f"Paris is the {tokenizer.mask_token} of France.")"""
  text = """text = "Paris is the capital of France."
inputs = tokenizer(text, return_tensors="pt")
"""
  if task == "text2text-generation":
    use = f"""{text}outputs = model.generate(**inputs, max_new_tokens=40)
print(tokenizer.batch_decode(outputs))"""
  elif task != "fill-mask":
    use = f"""{text}model(**inputs).logits  # > 0: the token looks replaced"""
  code = f"""```python
from transformers import AutoTokenizer, {family.architecture}, pipeline

model = {family.architecture}.from_pretrained("THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
{use}
```
"""
  if task == "text2text-generation":
    return code
  return f"""{code}
`AutoModel` loads the encoder without its head; sentence-transformers loads
this folder and pools by {pool}. The model was not trained to embed sentences:
fine-tune it before you compare embeddings.
"""


def _heldout_loss(
  workdir: Workdir, objective: type[Objective], step: int
) -> str:
  for record in reversed(list(read_records(workdir))):
    if record["split"] == "heldout" and record["step"] <= step:
      loss, _ = objective.token_loss_and_accuracy(record)
      term = objective.token_term
      whose = f" ({term})" if f"{term}_loss" in record else ""
      return f"{loss:.3f} nats per token{whose} at step {record['step']:,}"
  return "not measured"


def _heldout_corruption(config: Config) -> str:
  """Returns which held-out tokens are predicted, and what replaces them."""
  corruption = corruption_lib.bind(config.corruption)
  described = corruption.describe_heldout()
  if corruption.task != "fill_masks":
    return described
  return f"{described}; the same whatever the recipe masks"
