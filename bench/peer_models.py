"""Hugging Face's models in PyTorch, made as ours are."""

import torch
import transformers

from mlm_jax.hf import families


def model(name, config, vocab, **how):
  """Returns a family's ForMaskedLM model, to be trained.

  Args:
    name: of the family.
    config: the run's.
    vocab: its vocabulary.
    **how: more of the model's configuration.
  """
  transformers.logging.set_verbosity_error()
  family = families.FAMILIES[name]
  values = family.write_config(config.model, vocab)
  # Ours has none there, so the family says nothing, and theirs would be 0.1.
  values |= {"attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0}
  if family.model_type == "modernbert":
    values["sparse_prediction"] = True
  cls = getattr(transformers, family.architecture)
  return cls(cls.config_class(**values, **how)).train()


def adamw(model, optim):
  """Returns the optimizer that a run's `optim` asks for."""
  return torch.optim.AdamW(
    model.parameters(),
    lr=optim.peak_lr,
    betas=(optim.b1, optim.b2),
    eps=optim.eps,
    weight_decay=optim.weight_decay,
    fused=True,
  )
