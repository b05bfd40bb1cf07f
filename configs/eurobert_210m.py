"""EuroBERT-210M: Boizard et al. 2025, "EuroBERT".

  python -m mlm_jax train --config=eurobert_210m \
    --workdir=gs://.../eurobert_210m \
    --config.data.corpus='parquet:gs://.../multilingual/*.parquet'

The first of the paper's two phases: 4.8T tokens at length 2,048, 1e-4 after
2,000 warm-up steps, 50% masked, all of them replaced by [MASK]. The size of
BERT-base, pre-norm, with SwiGLU, RMSNorm, RoPE, untied output embeddings and no
dense layer before the logits. Betas, epsilon, weight decay, clipping and the
RoPE base of 10,000 are the defaults of the authors' trainer.

What differs: the second phase, at length 8,192 with 10% masked, is not
included, so the learning rate never decays; released models have its RoPE base,
250,000. SentencePiece BPE replaces Llama 3's tokenizer, with as many pieces.
Nothing here samples languages: the corpus must come mixed and shuffled, as the
tokenizer is trained on its first data.tokenizer_sample_mb. And the paper's 4.8T
tokens, 9.4M of them a step, its mask rate and its warm-up have not been checked
against its text.

310M parameters, 212M without the output embeddings, which the paper does not
count. No expected score: its evaluations are not ours.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.EUROBERT)
  config.model.max_positions = 2048

  config.data.vocab_size = 128_256
  config.data.lowercase = False
  config.data.seq_len = 2048

  config.corruption.mask_rate = 0.5
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.warmup_steps = 2_000
  config.optim.schedule = "constant"
  config.optim.b2 = 0.95
  config.optim.eps = 1e-5
  config.optim.weight_decay = 0.1

  config.train.steps = 508_626
  config.train.batch_size = 4_608
  return recipes.vary(config, variant, tiny=recipes.tiny)
