"""The reference of all configuration keys, docs/keys.md.

`make docs` writes what `python -m mlm_jax.config.reference` prints.
"""

from collections.abc import Iterable, Mapping

from mlm_jax import config as config_lib
from mlm_jax.config import Config, Key

_HEAD = """\
# Configuration keys

`make docs` makes this file from the declarations in
[`mlm_jax/config/`](../mlm_jax/config): change those, not the file. A recipe
sets `config.GROUP.KEY`, a command `--config.GROUP.KEY=VALUE`, and
`show_config --explain=GROUP.KEY` shows in the terminal what is said here.

The scope of a key is what it determines, and decides when it may change. Where
it depends on other keys, that of the defaults is shown."""


def as_markdown() -> str:
  """Returns a table of the scopes, and one of the keys of each group."""
  defaults, keys = Config(), config_lib.keys()
  scopes = [
    (scope, about, config_lib.when(scope))
    for scope, about in config_lib.SCOPES.items()
  ]
  scopes = _table(("scope", "what its keys determine", "may change"), scopes)
  own = {name: key for name, key in keys.items() if "." not in name}
  parts = [_HEAD, scopes, "## Without a group", _table_of_keys(own, defaults)]
  for group, cls in config_lib.groups().items():
    own = {n: k for n, k in keys.items() if n.rpartition(".")[0] == group}
    summary = cls.__doc__.partition("\n")[0]
    table = _table_of_keys(own, cls())
    parts += [f"## `{group}`", summary, table]
  return "\n\n".join(parts) + "\n"


def _table_of_keys(keys: Mapping[str, Key], defaults: object) -> str:
  header = ("key", "type", "default", "allowed", "scope", "what it is")
  rows = [
    (
      f"`{name}`",
      key.type_name,
      f"`{key.default!r}`",
      ", ".join(f"`{value!r}`" for value in key.values) or key.range or "any",
      key.scope_in(defaults),
      key.doc,
    )
    for name, key in keys.items()
  ]
  return _table(header, rows)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
  lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
  return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


if __name__ == "__main__":
  print(as_markdown(), end="")
