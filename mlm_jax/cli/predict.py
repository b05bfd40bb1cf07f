"""The commands that use a trained model; they import what they need."""

import re
from collections.abc import Sequence

from mlm_jax.errors import InputError
from mlm_jax.progress import Progress


def evaluate(args) -> None:
  from mlm_jax import api

  result = api.evaluate(
    args.workdir,
    args.checkpoint,
    corpus=args.corpus,
    passes=args.passes,
    discrepancy=args.discrepancy,
  )
  say = Progress().say
  kind = "" if args.corpus else "held-out "
  say(f"{f'{kind}loss':<17}  {result.loss:.3f} {result.unit}")
  say(f"{f'{kind}accuracy':<17}  {result.accuracy:.1%}")
  _say_texts(result.texts, say)
  if result.unigram_entropy is not None:
    difference = result.loss - result.unigram_entropy
    side = "below" if difference < 0 else "above"
    say(
      f"unigram entropy    {result.unigram_entropy:.3f} nats per token, by "
      "token frequency alone"
    )
    say(f"the model is {abs(difference):.2f} nats {side} it")
  if result.loss_as_trained is not None:
    say(
      f"loss as trained    {result.loss_as_trained:.3f} {result.unit}, by "
      f"{result.corruption}"
    )
  for label, (loss, accuracy) in result.terms.items():
    say(f"{label:<17}  {loss:.3f} nats, accuracy {accuracy:.1%}")
  for name, value in result.metrics.items():
    say(f"{name:<17}  {value:.4g}")
  if result.joint_losses:
    say("joint loss of a row's targets, filled in over several passes")
  for passes, loss in result.joint_losses.items():
    say(f"  {passes:>2} passes         {loss:.3f} nats per token")
  if result.discrepancy:
    say("loss at the same positions, by the input token there")
  for shown, loss in result.discrepancy.items():
    say(f"  {shown:<17}{loss:.3f}")


def _say_texts(texts, say) -> None:
  """Says what was measured on each of several texts, or on the only one."""
  if len(texts) == 1:
    for what, value in _facts(next(iter(texts.values()))).items():
      say(f"{what:<17}  {value}")
    return
  width = max(map(len, texts))
  for name, result in texts.items():
    line = f"  {name:<{width}}  loss {result.loss:.3f}"
    line += f", accuracy {result.accuracy:.1%}"
    for what, value in _facts(result).items():
      line += f", {what} {value}"
    say(line)


def _facts(result) -> dict[str, str]:
  found = {}
  if result.perplexity is not None:
    found["perplexity"] = f"{result.perplexity:.2f}"
  if result.bits_per_byte is not None:
    found["bits per byte"] = f"{result.bits_per_byte:.3f}"
  return found


def fill_mask(args) -> None:
  from mlm_jax import api

  model = api.restore(args.workdir, args.checkpoint, use="fill_mask")
  say = Progress().say

  def answer(text):
    guesses = api.fill_mask(model, text, args.top_k, args.passes)
    say("\n".join(describe(text, guesses, model.tokenizer.mask_token)))

  for text in args.text or ():
    answer(text)
  while args.interactive or not args.text:
    try:
      text = input("text with [MASK] (empty to end)> ")
    except EOFError:
      text = ""
    if not text:
      return
    try:
      answer(text)
    except InputError as error:
      say(str(error))


def describe(
  text: str,
  guesses: Sequence[Sequence[tuple[str, float]]],
  mask_token: str,
) -> list[str]:
  """Returns printable lines: the filled text, then the guesses per mask.

  Args:
    text: with [MASK]s, or the tokenizer's own mask token.
    guesses: of `api.fill_mask`.
    mask_token: the tokenizer's.
  """
  from mlm_jax.data.tokenizers import MASK

  lines = []
  for number, guess in enumerate(guesses, 1):
    label = f"{MASK} {number}" if len(guesses) > 1 else MASK
    shown = "  ".join(f"{_word(piece)} {p:.1%}" for piece, p in guess)
    lines.append(f"  {label}: {shown}")
  filled = text.replace(mask_token, MASK)
  for guess in guesses:
    piece = guess[0][0]
    # A piece that continues a word closes the gap before it.
    gap = "" if piece.startswith(" ") else " ?"
    before, after = re.split(gap + re.escape(MASK), filled, maxsplit=1)
    filled = before + piece.removeprefix(" ") + after
  return [filled, *lines]


def _word(piece: str) -> str:
  return piece[1:] or "▁" if piece.startswith(" ") else f"…{piece}"


def mask_predict(args) -> None:
  from mlm_jax import api

  model = api.restore(args.workdir, args.checkpoint, use="mask_predict")
  say = Progress().say
  for text in args.text:
    filled, log_probability = api.mask_predict(
      model, text, args.passes, args.lengths
    )
    say(f"{filled}\n  {-log_probability:.2f} nats per token")


def embed(args) -> None:
  from mlm_jax import api

  api.embed_file(
    args.workdir,
    args.texts,
    args.out,
    args.checkpoint,
    pool=args.pool,
    batch_size=args.batch_size,
  )
