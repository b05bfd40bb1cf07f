"""Batches to vectors: pure-functional Flax (linen) modules.

Arrays carry their shape in their name:

  B batch (rows)      L length of a row       P predictions (targets) a row
  D model width       H attention heads       K width of a head
  F feed-forward      V vocabulary, padded    M length, of the keys
  E embedding width   G heads of keys and values, each shared by R of the H

A decoder's rows have a target at each place: its L is P, its M the encoder's L.
"""
