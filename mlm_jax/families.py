"""Families of models: named values of `EncoderConfig`, never subclasses.

Each is what differs from the defaults, which are BERT's. Recipes, tests,
benches and the tables of `hf.families` take the values from here:

    config.model.update(families.MODERNBERT)

A family says nothing of size: recipes do.
"""

DROPOUTS = ("embedding_dropout", "attention_dropout", "mlp_dropout")
NO_DROPOUT = dict.fromkeys(DROPOUTS, 0.0)

# The size of BERT-large, which other families' large models have, too.
LARGE = {"num_layers": 24, "width": 1024, "num_heads": 16, "mlp_width": 4096}

# PyTorch's codebases do not cut the tails of initial weights, BERT's did.
_NORMAL = {"init_distribution": "normal"}

# Devlin et al. 2019. SpanBERT and ELECTRA have its block.
BERT = {}

# Liu et al. 2019; XLM-R's block is the same (Conneau et al. 2020).
ROBERTA = {"num_types": 1, "norm_eps": 1e-5, **_NORMAL}

# Sanh et al. 2019.
DISTILBERT = {"num_types": 0, **_NORMAL}

# Lan et al. 2020. Its factorised embeddings are a size: embedding_width.
ALBERT = {"share_layers": True, "activation": "gelu_tanh"}

# Portes et al. 2023.
MOSAICBERT = {
  "glu": True,
  "mlp_bias": "out",
  "position_kind": "alibi",
  **_NORMAL,
}

# Geiping and Goldstein 2023, but for their scaled sinusoidal positions.
CRAMMED = {
  "glu": True,
  "norm_placement": "pre",
  "attention_bias": False,
  "mlp_bias": "none",
  "num_types": 0,
  "head_dense": "none",
  "head_bias": False,
  **_NORMAL,
  **NO_DROPOUT,
}

# Warner et al. 2024.
MODERNBERT = {
  "glu": True,
  "norm_placement": "pre",
  "norm_eps": 1e-5,
  "norm_bias": False,
  "attention_bias": False,
  "mlp_bias": "none",
  "position_kind": "rope",
  "window": 128,
  "global_every": 3,
  "num_types": 0,
  "head_dense": "no_bias",
  "embedding_dropout": 0.0,
  "mlp_dropout": 0.0,
}

# Nussbaum et al. 2024.
NOMIC_BERT = {
  "activation": "silu",
  "glu": True,
  "attention_bias": False,
  "mlp_bias": "none",
  "position_kind": "rope",
  "rope_theta": 1_000.0,
  **_NORMAL,
  **NO_DROPOUT,
}

# Le Breton et al. 2025.
NEOBERT = {
  "activation": "silu",
  "glu": True,
  "norm_kind": "rms",
  "norm_placement": "pre",
  "norm_eps": 1e-5,
  "embedding_norm": False,
  "attention_bias": False,
  "mlp_bias": "none",
  "position_kind": "rope",
  "num_types": 0,
  "head_dense": "none",
  "tie_embeddings": False,
  # Between -0.02 and 0.02.
  "init_distribution": "uniform",
  "init_stddev": 0.02 / 3**0.5,
  **NO_DROPOUT,
}

# Boizard et al. 2025.
EUROBERT = NEOBERT | {"head_bias": False, "init_stddev": 0.02, **_NORMAL}

# Raffel et al. 2020, as first released.
T5 = {
  "activation": "relu",
  "norm_kind": "rms",
  "norm_placement": "pre",
  "norm_eps": 1e-6,
  "embedding_norm": False,
  "attention_bias": False,
  "mlp_bias": "none",
  "position_kind": "relative",
  "num_types": 0,
  "head_dense": "none",
  "head_bias": False,
  "scale_logits": True,
  "init_stddev": 0.0,
  **_NORMAL,
}

# Shazeer 2020: as released in 2020; its gated MLPs are of 2/3 the width.
T5_V1_1 = T5 | {
  "activation": "gelu_tanh",
  "glu": True,
  "tie_embeddings": False,
  "scale_logits": False,
}

# Lewis et al. 2020.
BART = {
  **_NORMAL,
  "norm_eps": 1e-5,
  "num_types": 0,
  "head_dense": "none",
  "head_bias": False,
}

# Song et al. 2019.
MASS = {"num_types": 0, "head_dense": "none", **_NORMAL}

# Ghazvininejad et al. 2019, "Mask-Predict".
CMLM = MASS | {"activation": "relu"}
