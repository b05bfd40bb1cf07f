"""The model card: what was trained, on what, how well, and how to load it."""

import dataclasses
import json

import flax.linen as nn

from mlm_jax import __version__
from mlm_jax.config import Config, CorruptionConfig
from mlm_jax.hf.families.base import Family
from mlm_jax.models.composite import Discriminator, EncoderDecoder, MaskedLM
from mlm_jax.objectives import OBJECTIVES
from mlm_jax.objectives.base import of_tokens
from mlm_jax.workdir import Workdir

_OBJECTIVES = {
  "mlm": "masked language modelling",
  "rtd": "replaced token detection",
  "mixture": "masked and causal language modelling",
  "seq2seq": "saying what was lost",
}

_TASKS = {
  MaskedLM: "fill-mask",
  Discriminator: "feature-extraction",
  EncoderDecoder: "text2text-generation",
}


def write(
  config: Config,
  exported: nn.Module,
  workdir: Workdir,
  family: Family | None,
  parity: str,
  *,
  step: int,
  origin: dict[str, str],
) -> str:
  """Returns the card, Markdown with the hub's front matter.

  Args:
    config: of the run.
    exported: the model.
    workdir: holds its metrics.
    family: what it was exported as; None is our own format.
    parity: what was compared.
    step: of the weights.
    origin: what training started from, as `import_hf` noted it.
  """
  model, data, optim = exported.config, config.data, config.optim
  task = _TASKS[type(exported)]
  started = origin.get("from") or "random weights"
  heldout = _heldout_loss(workdir, config, step)
  kind = "encoder-decoder" if model.num_decoder_layers else "encoder"
  return f"""---
library_name: {"transformers" if family else "mlm_jax"}
pipeline_tag: {task}
tags: [mlm_jax, {"masked-lm" if task == "fill-mask" else "pre-training"}]
---

# A text {kind} pre-trained by {_OBJECTIVES[config.objective.name]}

Trained with mlm_jax {__version__} for {step:,} steps, from {started}.

| | |
|---|---|
| {kind} | {_layers(model)} layers of {model.width}, {model.num_heads} heads, \
MLP of {model.mlp_width} |
| longest text | {model.max_positions} tokens |
| vocabulary | {data.vocab_size:,} pieces |
| data | `{data.corpus or "none"}`, {data.heldout_fraction:.2%} of documents held out |
| rows | {data.seq_len} tokens, {data.packing} packing, {config.train.batch_size} a step |
| corruption | {_corruption(config.corruption)} |
| optimizer | {optim.name}, peak learning rate {optim.peak_lr:g}, {optim.schedule} |
| held-out loss | {heldout} |
| parity | {parity} |

## Use

{_use(family, task)}
## The whole recipe

```json
{json.dumps(dataclasses.asdict(config), indent=2)}
```
"""


def _corruption(corruption: CorruptionConfig) -> str:
  if corruption.masks_per_row:
    return f"{corruption.kind}, {corruption.masks_per_row} tokens a row"
  if corruption.kind == "uniform_masking":
    return "any number of tokens masked"
  return f"{corruption.kind}, {corruption.mask_rate:.0%} of tokens"


def _layers(model) -> str:
  decoder = model.num_decoder_layers
  return f"{model.num_layers} + {decoder}" if decoder else str(model.num_layers)


def _use(family: Family | None, task: str) -> str:
  if family is None:
    return """No class of transformers computes this model. mlm_jax does:

```
python -m mlm_jax import_hf --from=THIS_FOLDER --workdir=DIR
python -m mlm_jax fill_mask --workdir=DIR
python -m mlm_jax embed --workdir=DIR --texts=FILE --out=OUT.npy
```
"""
  use = """fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
fill(f"Paris is the {tokenizer.mask_token} of France.")"""
  if task == "text2text-generation":
    use = """text = tokenizer("Paris is the capital of France.", return_tensors="pt")
print(tokenizer.batch_decode(model.generate(**text, max_new_tokens=40)))"""
  elif task != "fill-mask":
    use = """text = tokenizer("Paris is the capital of France.", return_tensors="pt")
model(**text).logits  # Over 0 where a token seems replaced."""
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
`AutoModel` loads the encoder alone, and sentence-transformers the folder, with
mean pooling. It was not trained to embed sentences: fine-tune it before you
compare vectors.
"""


def _heldout_loss(workdir: Workdir, config: Config, step: int) -> str:
  lines = workdir.metrics.read_text() if workdir.metrics.exists() else ""
  # A line that a kill cut short has no end.
  whole = (line for line in lines.splitlines() if line.endswith("}"))
  for record in map(json.loads, reversed(list(whole))):
    if record["split"] == "heldout" and record["step"] <= step:
      loss, _ = of_tokens(record, OBJECTIVES[config.objective.name])
      whose = " of the generator" if config.objective.name == "rtd" else ""
      return f"{loss:.3f} nats a token{whose} at step {record['step']:,}"
  return "not measured"
