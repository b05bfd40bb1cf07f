"""NeoBERT: Le Breton et al. 2025, "NeoBERT: A Next-Generation BERT".

  python -m mlm_jax train --config=neobert \
    --workdir=gs://.../neobert \
    --config.data.corpus=tfds:wikipedia/20230601.en

28 layers of width 768, pre-norm, SwiGLU (2,048 wide, two thirds of 3,072),
RMSNorm, RoPE; the output embeddings are not tied, with a bias, and there is no
dense layer before the logits, as in the authors' code. 20% masked, all of them
replaced by [MASK], in batches of 2M tokens:

  cosine       900,000 steps at length 1,024, warm-up to 6e-4 over 2,000 steps,
               then a cosine to 10% of it
  constant     100,000 steps at 6e-5
  length_4096  50,000 steps at length 4,096, at 6e-5

Rate and weight decay are the paper's; the authors' code has 1e-4 and 0.01, and
a cosine of 900,000 steps after the warm-up. The rate of the last phase is in
neither: constant in the code, here where the one before it ends.

What differs: weights start from a truncated normal, where the authors' code
draws them uniformly from -0.02 to 0.02. SentencePiece BPE replaces WordPiece.
The last phase reads all documents, where theirs leaves out those of fewer than
1,024 tokens.

neobert:single is a million steps at length 1,024, whose cosine ends with the
last.

245M parameters. GLUE (dev) of the published model: 89.0.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.NEOBERT, num_layers=28, mlp_width=2048)
  config.model.max_positions = 4096

  config.data.seq_len = 1024

  config.corruption.mask_rate = 0.2
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.peak_lr = 6e-4
  config.optim.warmup_steps = 2_000
  config.optim.schedule = "cosine"
  config.optim.final_lr_share = 0.1
  config.optim.b2 = 0.95
  config.optim.eps = 1e-8
  config.optim.weight_decay = 0.1

  config.train.batch_size = 2_048
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  if variant:
    return {}
  return {
    "cosine": {"train.steps": 900_000},
    "constant": {
      "train.steps": 100_000,
      "optim.peak_lr": 6e-5,
      "optim.warmup_steps": 0,
      "optim.schedule": "constant",
    },
    "length_4096": {
      "train.steps": 50_000,
      "train.batch_size": 512,
      "data.seq_len": 4096,
    },
  }
