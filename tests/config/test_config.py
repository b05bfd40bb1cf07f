"""Keys are declared once, read, and checked when a config is built."""

import ast
import dataclasses
import pathlib
import typing

import pytest

from mlm_jax import config as config_lib
from mlm_jax.config import Config, CorruptionConfig
from mlm_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
GROUPS = {cls.__name__: cls for cls in (Config, *config_lib.groups().values())}


class Reads(ast.NodeVisitor):
  """Collects the (class, field) pairs that code reads off configurations.

  A name has the type of its annotation, of the module's field it was assigned
  from, or of the attribute of a configuration that it stands for.
  """

  def __init__(self):
    self.found = set()
    self.names = [{"config": Config}]
    self.attributes = {}

  def type_of(self, node):
    if isinstance(node, ast.Name):
      return next((s[node.id] for s in self.names[::-1] if node.id in s), None)
    if isinstance(node, ast.Attribute):
      owner = self.type_of(node.value)
      if owner:
        return typing.get_type_hints(owner).get(node.attr)
      return self.attributes.get(node.attr)
    if isinstance(node, ast.Subscript):
      return (*typing.get_args(self.type_of(node.value)), None, None)[1]
    return None

  def annotated(self, annotation):
    name = annotation and ast.unparse(annotation).split(" | ")[0]
    return GROUPS.get(name and name.rpartition(".")[2])

  def visit_ClassDef(self, node):
    # `keys` are those that a corruption is bound to.
    self.attributes = {"config": Config, "keys": CorruptionConfig} | {
      a.target.id: self.annotated(a.annotation)
      for a in node.body
      if isinstance(a, ast.AnnAssign) and self.annotated(a.annotation)
    }
    self.generic_visit(node)

  def visit_FunctionDef(self, node):
    arguments = [*node.args.args, *node.args.kwonlyargs]
    scope = {a.arg: self.annotated(a.annotation) for a in arguments}
    self.names.append({k: v for k, v in scope.items() if v})
    self.generic_visit(node)
    self.names.pop()

  def visit_Assign(self, node):
    self.generic_visit(node)
    pairs = [(target, node.value) for target in node.targets]
    if isinstance(node.targets[0], ast.Tuple) and isinstance(
      node.value, ast.Tuple
    ):
      pairs = zip(node.targets[0].elts, node.value.elts, strict=True)
    for target, value in pairs:
      if isinstance(target, ast.Name) and self.type_of(value):
        self.names[-1][target.id] = self.type_of(value)

  def visit_Attribute(self, node):
    owner = self.type_of(node.value)
    if owner and dataclasses.is_dataclass(owner):
      self.found.add((owner.__name__, node.attr))
    self.generic_visit(node)

  def visit_Call(self, node):
    # getattr(data, key) for keys that are spelled out beside it.
    if ast.unparse(node.func) == "getattr":
      owner = self.type_of(node.args[0])
      self.found.update(
        (owner.__name__, word.value)
        for word in ast.walk(self.statement)
        if owner and isinstance(word, ast.Constant)
      )
    self.generic_visit(node)

  def visit(self, node):
    if isinstance(node, ast.stmt):
      self.statement = node
    return super().visit(node)


def test_every_key_is_read_somewhere():
  reads = Reads()
  for path in (ROOT / "mlm_jax").rglob("*.py"):
    if path.parent.name != "config" or path.name == "timeline.py":
      reads.names = reads.names[:1]
      reads.visit(ast.parse(path.read_text()))
  # Who reads a property, or calls a method, reads what it reads.
  new = set(reads.found)
  while new:
    cls, name = new.pop()
    made = getattr(GROUPS[cls], str(name), None)
    code = getattr(getattr(made, "fget", made), "__code__", None)
    more = {(cls, key) for key in (code.co_names if code else ())}
    new |= more - reads.found
    reads.found |= more
  declared = {
    (declaring(cls, field.name), field.name)
    for cls in GROUPS.values()
    for field in dataclasses.fields(cls)
  }
  read = {
    (declaring(GROUPS[cls], name), name)
    for cls, name in reads.found
    if cls in GROUPS
  }
  assert declared - read == set()


def declaring(cls, name):
  """Returns the name of the class, or base of it, that declares a field."""
  for base in cls.__mro__:
    if name in vars(base).get("__annotations__", ()):
      return base.__name__
  return cls.__name__


def test_every_choice_is_in_the_table_that_serves_it():
  from mlm_jax.data import packing
  from mlm_jax.data.sources import text
  from mlm_jax.models import attention, layers

  tables = {
    "EncoderConfig.activation": layers._ACTIVATIONS,
    "EncoderConfig.attention": {"auto", *attention.BACKENDS},
    "CorpusConfig.document_boundary": text._BOUNDARIES,
    "DataConfig.packing": packing._PACKERS,
  }
  for key, table in tables.items():
    cls, _, field = key.partition(".")
    choices = typing.get_args(typing.get_type_hints(GROUPS[cls])[field])
    assert set(choices) == set(table), key


def test_a_recipe_is_locked():
  with pytest.raises((AttributeError, KeyError)):
    config_lib.default().optim.peek_lr = 1.0


@pytest.mark.parametrize(
  ("key", "value", "said"),
  [
    ("optim.peek_lr", 1.0, "'optim.peak_lr'"),
    ("data.packing", "best_fitt", "'best_fit'"),
    ("objective.name", "mml", "'mlm'"),
    ("train.steps", 1.5, "train.steps must be int"),
    ("corruption.mask_rate", 1.0, "corruption.mask_rate must be > 0 and < 1"),
    ("optim.name", "adam", "'adamw'"),
    ("optim.name", ["adamw"], "optim.name must be str"),
    ("model.activation", 3, "model.activation must be str"),
    ("model.num_heads", 7, "does not divide"),
    ("data.seq_len", 1024, "over model.max_positions=512"),
    ("train.microbatches", 3, "does not divide"),
    ("mesh.fsdp", -1, "one of them -1"),
  ],
)
def test_bad_values_are_one_clear_line(key, value, said):
  values = dataclasses.asdict(Config())
  group, _, name = key.partition(".")
  values[group][name] = value
  with pytest.raises(InputError) as caught:
    config_lib.build(values)
  assert said in str(caught.value)
  assert "\n" not in str(caught.value)


SEQ2SEQ = {"objective.name": "seq2seq", "model.num_decoder_layers": 2}


@pytest.mark.parametrize(
  ("overrides", "said"),
  [
    (
      {"objective.name": "seq2seq", "corruption.kind": "bart"},
      "model.num_decoder_layers must be positive, not 0",
    ),
    ({"model.num_decoder_layers": 2}, "num_decoder_layers must be 0, not 2"),
    ({**SEQ2SEQ}, "'token_masking', only 'span_corruption'"),
    (
      {**SEQ2SEQ, "corruption.kind": "span_corruption"},
      "data.num_sentinels=0 is too few",
    ),
    (
      {
        **SEQ2SEQ,
        "corruption.kind": "bart",
        "model.embedding_width": 64,
      },
      "model.embedding_width must be 0",
    ),
    (
      {
        **SEQ2SEQ,
        "objective.name": "cmlm",
        "corruption.kind": "cmlm",
        "model.position_kind": "rope",
      },
      "needs model.position_kind='learned'",
    ),
    ({"corruption.kind": "next_token"}, "'next_token', only 'token_mask"),
  ],
)
def test_bad_combinations_are_one_clear_line(overrides, said):
  values = config_lib.default()
  values.update_from_flattened_dict(overrides)
  with pytest.raises(InputError) as caught:
    config_lib.build(values)
  assert said in str(caught.value)
  assert "\n" not in str(caught.value)
