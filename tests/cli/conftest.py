"""Commands that are to fail."""

from mlm_jax.cli.main import main


def fail(capsys, argv):
  capsys.readouterr()
  assert main(argv) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("mlm_jax: ")
  assert "\\n" not in line, "a line break in disguise"
  return line.removeprefix("mlm_jax: ")
