"""Hugging Face models in PyTorch, configured as ours."""

import torch
import transformers

from mlm_jax.hf import families


def model(name, config, vocab, **options):
  """Returns a family's ForMaskedLM model in training mode.

  Args:
    name: of the family.
    config: the run's.
    vocab: its vocabulary.
    **options: other keys of the model's configuration.
  """
  transformers.logging.set_verbosity_error()
  family = families.FAMILIES[name]
  values = family.write_config(config.model, vocab)
  # Ours has no such dropout, so the family has no key; theirs would be 0.1.
  values |= {"attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0}
  if family.model_type == "modernbert":
    values["sparse_prediction"] = True
  cls = getattr(transformers, family.architecture)
  return cls(cls.config_class(**values, **options)).train()


def adamw(model, optim):
  """Returns the PyTorch optimizer for a run's `optim` config."""
  return torch.optim.AdamW(
    model.parameters(),
    lr=optim.peak_lr,
    betas=(optim.b1, optim.b2),
    eps=optim.eps,
    weight_decay=optim.weight_decay,
    fused=True,
  )
