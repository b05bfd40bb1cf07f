"""EuroBERT-210M: Boizard et al. 2025, "EuroBERT".

  python -m mlm_jax train --config=configs/eurobert_210m.py \
    --workdir=gs://.../eurobert_210m \
    --config.data.corpus='parquet:gs://.../multilingual/*.parquet'

The first of the paper's two phases: 4.8T tokens at length 2,048, 1e-4 after
2,000 steps of warm-up, 50% masked, all of them shown as [MASK]. The shape of
BERT-base, pre-norm, with SwiGLU, RMSNorm, RoPE, and logits from a table of
their own without a layer before it. Betas, epsilon, weight decay, clipping and
the RoPE base of 10,000 are the defaults of the authors' trainer.

What differs: the rate decays linearly to 0, where the paper's stays at the peak
until the second phase. That phase, at length 8,192 with 10% masked, is not
here; released models have its RoPE base, 250,000. SentencePiece BPE stands in
for Llama 3's, with as many pieces. Nothing here mixes languages: the corpus
must come mixed and shuffled, as the tokenizer is trained on the first
data.tokenizer_sample_mb of it. And the paper's 4.8T tokens, 9.4M of them a
step, its share masked and its warm-up have not been checked against its text.

310M parameters, 212M without the output table, which the paper leaves out. No
quality anchor: its evaluations are not ours.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.vocab_size = 128_256
  config.data.lowercase = False
  config.data.seq_len = 2048

  config.model.activation = "silu"
  config.model.glu = True
  config.model.norm_kind = "rms"
  config.model.norm_placement = "pre"
  config.model.norm_eps = 1e-5
  config.model.embedding_norm = False
  config.model.attention_bias = False
  config.model.mlp_bias = "none"
  config.model.head_dense = "none"
  config.model.head_bias = False
  config.model.tie_embeddings = False
  config.model.position_kind = "rope"
  config.model.max_positions = 2048
  config.model.num_types = 0
  config.model.embedding_dropout = 0.0
  config.model.attention_dropout = 0.0
  config.model.mlp_dropout = 0.0

  config.corruption.mask_rate = 0.5
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.warmup_steps = 2_000
  config.optim.b2 = 0.95
  config.optim.eps = 1e-5
  config.optim.weight_decay = 0.1

  config.train.steps = 508_626
  config.train.batch_size = 4_608
  return config
