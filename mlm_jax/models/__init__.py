"""Batches to vectors: pure-functional Flax (linen) modules.

Arrays carry their shape in their name, one letter an axis:

  B  batch (rows)                     L  length of a row; of queries
  P  predictions (targets) in a row   M  length of keys
  D  model width                      E  embedding width
  F  feed-forward width               V  vocabulary, padded
  H  attention heads                  K  width of a head
  G  heads of keys and values         R  query heads that share one of them
  Q  queries that share a key, R x L  T  projections fused in one kernel
  N  positions (max_positions)        U  buckets of relative distances
  J  half the width of a head         C  chunks of a row or of the vocabulary
  S  documents in a row               W  tokens in a chunk of the vocabulary
  Z  input width of the span boundary head

A digit is an axis of that size. Every position of a decoder's row is predicted:
its L is P, and the keys of its cross attention are the encoder's row.
"""
