"""The commands that use a trained model. Their imports wait until they are needed."""

from mlm_jax.errors import InputError, require
from mlm_jax.progress import Progress
from mlm_jax.workdir import Workdir

# What a term is called where a person reads of it.
_TERMS = {
  "rtd": "replaced tokens",
  "span_boundary": "from the borders",
  "pair": "sentence pairs",
  "causal_lm": "what comes next",
  "length": "lengths",
}


def evaluate(args) -> None:
  from mlm_jax.data import corruption, prepare
  from mlm_jax.evaluation import heldout
  from mlm_jax.objectives.base import of_tokens
  from mlm_jax.training.restoring import restore

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require(
    config.data.heldout_fraction > 0,
    f"{workdir.root} holds nothing out: data.heldout_fraction is 0",
  )
  require(
    config.objective.name == "mlm" or not (args.discrepancy or args.passes > 1),
    "--discrepancy and --passes are of masked language models, not of "
    f"{config.objective.name}",
  )
  run, params, _, _ = restore(workdir, args.checkpoint)
  _, store = prepare.load(config, workdir)
  values = heldout.evaluator(run, store)(params)
  entropy = store.info["heldout"].unigram_entropy
  say = Progress().say
  loss, accuracy = of_tokens(values, run.objective)
  say(f"held-out loss      {loss:.3f} nats a token")
  say(f"held-out accuracy  {accuracy:.1%}")
  if not corruption.bind(config.corruption).predicts_sentinels:
    say(
      f"unigram entropy    {entropy:.3f} nats, the least that word frequencies "
      f"alone can reach"
    )
    side = "under" if loss < entropy else "over"
    say(f"the model is {abs(entropy - loss):.2f} nats {side} it")
  for term in run.terms:
    if term != run.objective.tells:
      loss, accuracy = values[f"{term}_loss"], values[f"{term}_accuracy"]
      say(f"{_TERMS[term]:<17}  {loss:.3f} nats, {accuracy:.1%} told right")
  if args.passes > 1:
    found = heldout.joint(run, store, params, args.passes)
    say("the targets of a row together, where each pass sees those before")
    for passes, loss in found.items():
      say(f"  {passes:>2} passes         {loss:.3f} nats a token")
  if args.discrepancy:
    say("loss at the same places, where the model is shown")
    for shown, loss in heldout.discrepancy(run, store, params).items():
      say(f"  {shown:<17}{loss:.3f}")


def fill_mask(args) -> None:
  from mlm_jax.data import corruption
  from mlm_jax.evaluation import fill_mask as fill
  from mlm_jax.training.restoring import restore

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require(
    corruption.bind(config.corruption).task == "fill_masks",
    "fill_mask is for models that fill in masks; this one was trained with "
    f"objective.name={config.objective.name!r}",
  )
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
  from mlm_jax.training.restoring import restore

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require(
    config.objective.name == "cmlm",
    "mask_predict is for encoder-decoders of objective.name='cmlm', not "
    f"{config.objective.name!r}; fill_mask --passes is for encoders",
  )
  run, params, tokenizer, _ = restore(workdir, args.checkpoint)
  say = Progress().say
  for text in args.text:
    said, log_probability = predict.mask_predict(
      run, params, tokenizer, text, args.passes, args.lengths
    )
    say(f"{said}\n  {-log_probability:.2f} nats a token")


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
