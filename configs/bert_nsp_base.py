"""BERT-base with next-sentence prediction: Devlin et al. 2019, as published.

  python -m mlm_jax train --config=bert_nsp_base \
    --workdir=gs://.../bert_nsp_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

bert_base, but each row is a piece of one document, cut in two at the start of a
sentence. In half of the rows the second half comes from another document, and
the start token predicts whether it does.

What differs, beside what bert_base lists: both halves have the length of the
shorter one, so that lengths give nothing away. For that reason, and because a
row holds one document, a step trains on fewer tokens than with packed rows.
RoBERTa found the task of no use (Liu et al. 2019); this recipe is here to
compare.

bert_nsp_base:tiny ends near 4.9 nats a masked token held out, where predicting
by token frequency alone costs 5.4, and 61% of the pairs: those take longer.

110M parameters beside the sentence-pair head. GLUE (dev) of the published
model: 84.7.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")
  config.data.packing = "single"
  config.corruption.sentence_pairs = "nsp"
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  return recipes.base_phases("bert_base", variant)
