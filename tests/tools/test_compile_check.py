"""What compile_check says, without a compiler; and its table of TPUs."""

import json

import pytest

from mlm_jax import config as config_lib
from mlm_jax.cli.main import main
from mlm_jax.data.corruption import batch_contract
from mlm_jax.errors import InputError
from mlm_jax.tools import compile_check, compile_report, tpus

BERT = "--config=configs/bert_base.py"
REPORT = {
  **{"topology": "v5e:4x4", "devices": 16, "chips": 16, "fits": True},
  **{"batch_size": 512, "per_device_batch": 32, "microbatches": 1},
  **{"seq_len": 512, "hbm_available": 15.75, "hbm_used": 6.0},
  **{"parameters": 0.4, "optimizer": 0.8, "activations": 4.6, "program": 0.2},
  **{"compile_seconds": 30.0, "model_flops": 1e13, "compiled_flops": 1.03e13},
  **{"kernel_flops": 1e12, "bytes_per_token": 3_500_000, "pair_arrays": False},
  "collectives": [{"kind": "all-reduce", "count": 5, "bytes": 4e8}],
  **{"step_seconds": 0.1, "utilisation": 0.5, "utilisation_outside": 0.52},
  **{"tokens_per_second": 2_621_440, "run_days": 2.0},
}


def test_a_wrong_topology_lists_the_right_ones(capsys):
  assert main(["compile_check", BERT, "--topology=v5e:3x3"]) == 2
  error = capsys.readouterr().err
  assert "unknown topology 'v5e:3x3'" in error and error.count("\n") == 1
  assert "v5e:1x1, 2x2, 2x4, 4x4" in error and "v4:2x2x1" in error


def test_a_missing_compiler_says_how_to_get_it(capsys, monkeypatch):
  import importlib.util

  find = importlib.util.find_spec
  hide = lambda name, *rest: None if name == "libtpu" else find(name, *rest)
  monkeypatch.setattr(importlib.util, "find_spec", hide)
  assert main(["compile_check", BERT, "--topology=v5e:1x1"]) == 2
  assert "pip install libtpu" in capsys.readouterr().err


def test_rows_below_none_are_refused(capsys):
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
def test_a_slice_has_gclouds_name_too(name, topology):
  assert tpus.topology(name) == topology


@pytest.mark.parametrize(
  "name", ["v5litepod-3", "v5e:4x4*0", "v5e:4x4*", "v5e"]
)
def test_a_slice_that_nobody_makes_is_refused(name):
  with pytest.raises(InputError, match="unknown topology"):
    tpus.topology(name)


@pytest.mark.parametrize(("fits", "code"), [(True, 0), (False, 1)])
def test_scripts_learn_from_the_exit_code_whether_it_fits(
  fits, code, monkeypatch, capsys
):
  report = {**REPORT, "fits": fits, "why": "21.0 GiB asked for", "remedies": []}
  monkeypatch.setattr(compile_report, "ask", lambda *_, **__: report)
  if fits:
    assert main(["compile_check", BERT, "--topology=v5e:4x4"]) == code
  else:
    with pytest.raises(SystemExit) as stopped:
      main(["compile_check", BERT, "--topology=v5e:4x4"])
    assert stopped.value.code == code
  assert "v5e:4x4" in capsys.readouterr().out


def test_a_table_that_cannot_be_written_is_told_first(
  capsys, monkeypatch, tmp_path
):
  monkeypatch.chdir(tmp_path)
  assert main(["compile_check", "--all"]) == 2
  assert "no bench/results/ here" in capsys.readouterr().err


def test_chips_are_counted():
  assert tpus.num_chips("v5e:4x4*2") == 32
  assert tpus.num_chips("v5e:4x8") == 32
  assert tpus.num_chips("v5p:2x2x4") == 16


def test_a_report_is_a_table_with_a_price():
  text = "\n".join(compile_report.lines(REPORT, price=1.2))
  assert "6.00 of 15.75 GiB" in text
  assert "1.030 times" in text and "3.50 MB a token" in text
  assert "5, 400.0 MB sent" in text
  estimates = text.index("the compiler's estimates, not measured")
  assert estimates < text.index("100.0 ms") < text.index("50.0%")
  assert "226.5 billion" in text
  # 16 chips for two days.
  assert f"{1.2 * 16 * 48:,.0f} at 1.2" in text
  assert "cost" not in "\n".join(compile_report.lines(REPORT))


def test_loops_have_no_estimates_and_misfits_have_remedies():
  loop = {**REPORT, "step_seconds": None, "microbatches": 4}
  text = "\n".join(compile_report.lines(loop))
  assert "4 micro-batches" in text and "--per_device_batch" in text
  misfit = {
    **{**REPORT, "fits": False, "why": "21.0 GiB asked for"},
    "remedies": [("model.remat='full'", REPORT)],
  }
  text = "\n".join(compile_report.lines(misfit))
  assert "21.0 GiB asked for" in text
  assert "fits with model.remat='full'" in text and "6.00 GiB" in text


def test_markdown_has_a_line_a_program():
  misfit = {**REPORT, "fits": False, "why": "21.0 GiB asked for"}
  table = compile_report.markdown([("bert_base", REPORT), ("t5", misfit)])
  lines = table.splitlines()
  assert len({line.count("|") for line in lines}) == 1
  assert "does not fit" in lines[3] and "bert_base" in lines[2]


@pytest.mark.parametrize("bend", [0.0, 0.2, -0.1])
@pytest.mark.parametrize("row", [1.5, 0.31, 0.01, 0.0004, 1e-5])
def test_the_largest_batch_is_found_in_few_programs(row, bend, monkeypatch):
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


def test_more_rows_in_less_memory_do_not_mislead(monkeypatch):
  """As BERT-base's on v5e, where the compiler begins to save memory."""
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
def test_a_batch_is_known_before_there_are_rows(
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


def test_what_is_asked_can_be_written_down():
  values = json.loads(json.dumps(config_lib.default().to_dict()))
  assert config_lib.build(values) == config_lib.build(config_lib.default())
