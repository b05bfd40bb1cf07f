"""The commands that use a trained model; they import what they need."""

from mlm_jax.errors import InputError
from mlm_jax.progress import Progress
from mlm_jax.workdir import Workdir


def evaluate(args) -> None:
  from mlm_jax import api

  result = api.evaluate(
    args.workdir,
    args.checkpoint,
    passes=args.passes,
    discrepancy=args.discrepancy,
  )
  say = Progress().say
  say(f"held-out loss      {result.loss:.3f} {result.unit}")
  say(f"held-out accuracy  {result.accuracy:.1%}")
  if result.unigram_entropy is not None:
    difference = result.loss - result.unigram_entropy
    side = "below" if difference < 0 else "above"
    say(
      f"unigram entropy    {result.unigram_entropy:.3f} nats per token, by token "
      "frequency alone"
    )
    say(f"the model is {abs(difference):.2f} nats {side} it")
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


def fill_mask(args) -> None:
  from mlm_jax.evaluation import fill_mask as fill
  from mlm_jax.objectives import require_support
  from mlm_jax.training.restoring import restore

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require_support(config, "fill_mask")
  run, params, tokenizer, _ = restore(workdir, args.checkpoint)
  say = Progress().say

  def answer(text):
    guesses = fill.fill_mask(
      run, params, tokenizer, text, args.top_k, args.passes
    )
    say("\n".join(fill.describe(text, guesses, tokenizer.mask_token)))

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


def mask_predict(args) -> None:
  from mlm_jax.evaluation import mask_predict as predict
  from mlm_jax.objectives import require_support
  from mlm_jax.training.restoring import restore

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require_support(config, "mask_predict", "fill_mask --passes is for encoders")
  run, params, tokenizer, _ = restore(workdir, args.checkpoint)
  say = Progress().say
  for text in args.text:
    filled, log_probability = predict.mask_predict(
      run, params, tokenizer, text, args.passes, args.lengths
    )
    say(f"{filled}\n  {-log_probability:.2f} nats per token")


def embed(args) -> None:
  from mlm_jax.evaluation.embed import embed_file
  from mlm_jax.training.restoring import restore

  workdir = Workdir.at(args.workdir)
  embed_file(
    args.texts,
    args.out,
    lambda: restore(workdir, args.checkpoint)[:3],
    pool=args.pool,
    batch_size=args.batch_size,
  )
