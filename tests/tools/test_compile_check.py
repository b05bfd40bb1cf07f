"""Compile check reports, batch search and topologies, without a compiler."""

import json

import pytest

from mlm_jax import config as config_lib
from mlm_jax import registry
from mlm_jax.cli.main import main
from mlm_jax.data.corruption import batch_contract
from mlm_jax.errors import InputError
from mlm_jax.tools import (
  compile_check,
  compile_report,
  compile_subprocess,
  compile_table,
  tpus,
)

BERT = "--config=configs/bert_base.py"
REPORT = {
  "topology": "v5e:4x4", "devices": 16, "chips": 16, "fits": True,
  "batch_size": 512, "per_device_batch": 32, "microbatches": 1,
  "seq_len": 512, "hbm_available": 15.75, "hbm_used": 6.0,
  "parameters": 0.4, "optimizer": 0.8, "activations": 4.6, "program": 0.2,
  "compile_seconds": 30.0, "model_flops": 1e13, "compiled_flops": 1.03e13,
  "kernel_flops": 1e12, "bytes_per_token": 3_500_000, "pair_arrays": False,
  "collectives": [{"kind": "all-reduce", "count": 5, "bytes": 4e8}],
  "step_seconds": 0.1, "utilisation": 0.5, "utilisation_outside": 0.52,
  "tokens_per_second": 2_621_440, "run_days": 2.0,
}  # fmt: skip
MISFIT = {**REPORT, "fits": False, "why": "needs 21.0 GiB"}


def test_an_unknown_topology_lists_the_known_ones(capsys):
  assert main(["compile_check", BERT, "--topology=v5e:3x3"]) == 2
  error = capsys.readouterr().err
  assert "unknown topology 'v5e:3x3'" in error and error.count("\n") == 1
  assert "v5e:1x1, 2x2, 2x4, 4x4" in error and "v4:2x2x1" in error


def test_a_missing_tpu_compiler_names_its_package(capsys, monkeypatch):
  import importlib.util

  find = importlib.util.find_spec
  hide = lambda name, *rest: None if name == "libtpu" else find(name, *rest)
  monkeypatch.setattr(importlib.util, "find_spec", hide)
  assert main(["compile_check", BERT, "--topology=v5e:1x1"]) == 2
  assert "pip install libtpu" in capsys.readouterr().err


def test_a_negative_batch_is_an_input_error(capsys):
  assert main(["compile_check", BERT, "--per_device_batch=-8"]) == 2
  assert "must be positive, not -8" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("name", "topology"),
  [
    ("v5litepod-16", "v5e:4x4"),
    ("v6e-8", "v6e:2x4"),
    # The numbers of these are cores, of which a chip has two.
    ("v5p-16", "v5p:2x2x2"),
    ("v4-8", "v4:2x2x1"),
    ("v3-32", "v3:4x4"),
    ("v5litepod-16*2", "v5e:4x4*2"),
    ("v5p:2x2x2*4", "v5p:2x2x2*4"),
  ],
)
def test_topologies_have_gcloud_names_and_slice_counts(name, topology):
  assert tpus.topology(name) == topology


@pytest.mark.parametrize(
  "name", ["v5litepod-3", "v5e:4x4*0", "v5e:4x4*", "v5e"]
)
def test_a_slice_that_does_not_exist_is_an_input_error(name):
  with pytest.raises(InputError, match="unknown topology"):
    tpus.topology(name)


@pytest.mark.parametrize(("fits", "code"), [(True, 0), (False, 1)])
def test_compile_check_exits_with_1_if_the_step_does_not_fit(
  fits, code, monkeypatch, capsys
):
  report = REPORT if fits else {**MISFIT, "remedies": []}
  monkeypatch.setattr(compile_subprocess, "check", lambda *_, **__: report)
  if fits:
    assert main(["compile_check", BERT, "--topology=v5e:4x4"]) == code
  else:
    with pytest.raises(SystemExit) as stopped:
      main(["compile_check", BERT, "--topology=v5e:4x4"])
    assert stopped.value.code == code
  assert "v5e:4x4" in capsys.readouterr().out


def test_the_table_needs_its_folder_before_anything_compiles(
  capsys, monkeypatch, tmp_path
):
  monkeypatch.chdir(tmp_path)
  assert main(["compile_check", "--all"]) == 2
  assert "bench/results/" in capsys.readouterr().err


def test_num_chips():
  assert tpus.num_chips("v5e:4x4*2") == 32
  assert tpus.num_chips("v5e:4x8") == 32
  assert tpus.num_chips("v5p:2x2x4") == 16


def test_report_lines_with_a_price():
  text = "\n".join(compile_report.lines(REPORT, price=1.2))
  assert "6.00 of 15.75 GiB" in text
  assert "1.030 times" in text and "3.50 MB per token" in text
  assert "5, 400.0 MB sent" in text
  estimates = text.index("the compiler's estimates, not measured")
  assert estimates < text.index("100.0 ms") < text.index("50.0%")
  assert "226.5 billion" in text
  # 16 chips for two days.
  assert f"{1.2 * 16 * 48:,.0f} at 1.2" in text
  assert "cost" not in "\n".join(compile_report.lines(REPORT))


def test_report_lines_of_loops_and_misfits():
  loop = {**REPORT, "step_seconds": None, "microbatches": 4}
  text = "\n".join(compile_report.lines(loop))
  assert "4 micro-batches" in text and "--per_device_batch" in text
  misfit = {**MISFIT, "remedies": [("model.remat='full'", REPORT)]}
  text = "\n".join(compile_report.lines(misfit))
  assert "needs 21.0 GiB" in text
  assert "fits with model.remat='full'" in text and "6.00 GiB" in text


def test_markdown_table_has_one_row_per_report():
  table = compile_table.markdown([("bert_base", REPORT), ("t5", MISFIT)])
  lines = table.splitlines()
  assert len({line.count("|") for line in lines}) == 1
  assert "does not fit" in lines[3] and "bert_base" in lines[2]


@pytest.mark.parametrize("bend", [0.0, 0.2, -0.1])
@pytest.mark.parametrize("row", [1.5, 0.31, 0.01, 0.0004, 1e-5])
def test_find_batch_needs_few_compilations(row, bend, monkeypatch):
  tried = []

  def check(rows, topology):
    tried.append(rows)
    # Memory is not quite linear in the rows.
    used = 0.5 + row * rows * (1 + bend * (row * rows > 5))
    report = {"rows": rows, "fits": used <= 15.75, "why": "too much"}
    return {**report, "hbm_used": used, "hbm_available": 15.75}

  monkeypatch.setattr(compile_check, "check", check)
  monkeypatch.setattr(compile_check, "with_batch", lambda c, t, rows: rows)
  found = compile_check.find_batch(None, "v5e:1x1")
  assert found["fits"] and found["rows"] % 8 == 0
  more = max(8, found["rows"] // 16 // 8 * 8)
  assert not check(found["rows"] + more, "")["fits"]
  assert len(tried) < 10


def test_find_batch_where_more_rows_need_less_memory(monkeypatch):
  """Measured for BERT-base on v5e, where the compiler starts to save memory."""
  sizes, tried = {8: 2.55, 16: 3.73, 96: 14.43, 104: 14.30}, []

  def check(rows, topology):
    tried.append(rows)
    used = sizes.get(rows, 1.4 + 0.14 * rows)
    report = {"rows": rows, "fits": used <= 15.75, "why": "too much"}
    return {**report, "hbm_used": used, "hbm_available": 15.75}

  monkeypatch.setattr(compile_check, "check", check)
  monkeypatch.setattr(compile_check, "with_batch", lambda c, t, rows: rows)
  assert compile_check.find_batch(None, "v5e:1x1")["rows"] == 104
  assert tried == [8, 16, 96, 104, 112]


KINDS = [
  ("mlm", "token_masking"),
  ("rtd", "token_masking"),
  ("causal_lm", "next_token"),
  ("seq2seq", "bart"),
  ("cmlm", "cmlm"),
]


@pytest.mark.parametrize("name, kind", KINDS)
def test_a_step_is_traced_from_the_batch_spec_alone(
  name, kind, make_config, make_run, vocab
):
  overrides = {"objective.name": name, "corruption.kind": kind}
  if name in ("seq2seq", "cmlm"):
    overrides["model.num_decoder_layers"] = 1
  config = make_config(**overrides)
  spec = batch_contract(config).spec()
  assert spec["input_ids"].shape == (8, 32)
  # A step can be compiled for it.
  make_run(config)._train_step.trace(make_run(config).abstract_state, spec)


OWN_SCHEDULE = """
from mlm_jax import config, registry

registry.SCHEDULES.register("flat", lambda optim, steps: optim.peak_lr)

def get_config():
  values = config.default()
  values.optim.schedule = "flat"
  return values
"""


def test_the_subprocess_reads_a_recipe_that_registers_kinds_of_its_own(
  monkeypatch, tmp_path, capsys
):
  path = tmp_path / "own.py"
  path.write_text(OWN_SCHEDULE)
  checked = []

  def run(request, say):
    # A subprocess has registered nothing yet.
    registry.SCHEDULES.forget(str(path))
    return compile_check.answer(json.loads(json.dumps(request)))

  monkeypatch.setattr(compile_subprocess, "_run", run)
  monkeypatch.setattr(tpus, "check_compiler", lambda: None)
  monkeypatch.setattr(
    compile_check, "check", lambda *args: checked.append(args) or REPORT
  )
  command = ["compile_check", f"--config={path}", "--topology=v5e:1x1"]
  assert main(command) == 0
  ((config, topology),) = checked
  assert (config.optim.schedule, topology) == ("flat", "v5e:1x1")
  registry.SCHEDULES.forget(str(path))


def test_a_recipe_file_that_is_gone_is_an_error_of_the_report():
  request = {
    "config": {},
    "recipe": "/nowhere/own.py",
    "topology": "v5e:1x1",
    "per_device_batch": 0,
  }
  assert "/nowhere/own.py" in compile_check.answer(request)["error"]


def test_a_config_survives_json():
  values = json.loads(json.dumps(config_lib.default().to_dict()))
  assert config_lib.build(values) == config_lib.build(config_lib.default())
