"""launch/tpu_vm.sh, with fake gcloud and Python commands on the PATH."""

import json
import os
import pathlib
import stat
import subprocess

import pytest

from mlm_jax.cli.train import STOPPED

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "tpu_vm.sh"

TPU = ["--name=bert", "--zone=z", "--type=v5litepod-16"]
RUN = ["--", "--config=bert_base", "--workdir=gs://bucket/bert"]

# It records its calls, and answers by a plan: kind of call -> answers, used in
# order, the last one repeatedly. An answer is [exit code, text].
FAKE = """#!/usr/bin/env python3
import json, os, pathlib, sys

folder = pathlib.Path(os.environ["FAKE"])
me, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
line = " ".join([me, *arguments])
with open(folder / "calls", "a") as calls:
  calls.write(json.dumps(line) + chr(10))
kinds = {
  "check": "compile_check",
  "wheel": "pip wheel",
  "describe": " describe ",
  "create": " create ",
  "delete": " delete ",
  "copy": " scp ",
  "status": "--command=if kill",
  "install": "uv pip install",
  "logs": "--command=tail",
  "start": "nohup",
  "resume": " start ",
}
kind = next(kind for kind, part in kinds.items() if part in line)
plan = json.loads((folder / "plan").read_text())
code, text = 0, ""
if plan.get(kind):
  code, text = plan[kind][0]
  if len(plan[kind]) > 1:
    plan[kind].pop(0)
    (folder / "plan").write_text(json.dumps(plan))
with open(folder / "kinds", "a") as calls:
  calls.write(kind + chr(10))
if kind == "wheel":
  (target,) = [a for a in arguments if a.startswith("--wheel-dir=")]
  (pathlib.Path(target.partition("=")[2]) / "mlm_jax-1-py3.whl").touch()
print(text, file=sys.stderr if code else sys.stdout)
sys.exit(code)
"""

ABSENT = [1, "ERROR: NOT_FOUND: no such node"]
READY, ACTIVE = [0, "READY"], [0, "ACTIVE"]
BROKEN = [255, "connection closed"]


def statuses(*answers):
  """Returns worker 0's answers to status requests; None is no connection."""
  return [BROKEN if answer is None else [0, answer] for answer in answers]


@pytest.fixture
def launch(tmp_path):
  """Returns a function: plan, arguments -> process, kinds of calls."""
  for name in ("gcloud", "python"):
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(FAKE)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)

  def launch(plan, *arguments):
    (tmp_path / "plan").write_text(json.dumps(plan))
    process = subprocess.run(
      [SCRIPT, *arguments],
      env={
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "PYTHON": str(tmp_path / "bin" / "python"),
        "FAKE": str(tmp_path),
        "POLL_SECONDS": "0.01",
      },
      capture_output=True,
      text=True,
      timeout=60,
    )
    kinds = tmp_path / "kinds"
    return process, kinds.read_text().split() if kinds.exists() else []

  return launch


@pytest.fixture
def calls(tmp_path):
  def calls():
    return [
      json.loads(x) for x in (tmp_path / "calls").read_text().split("\n") if x
    ]

  return calls


def without_queries(kinds):
  return [kind for kind in kinds if kind not in ("describe", "status")]


SETUP = ["wheel", "copy", "install", "start", "logs"]
AGAIN = SETUP[1:]  # The wheel is built once.
CREATED = [ABSENT, ABSENT, READY]


def test_train_checks_creates_sets_up_starts_and_follows(launch, calls):
  plan = {"describe": CREATED, "status": statuses("idle", "0")}
  process, kinds = launch(plan, "train", *TPU, "--spot", *RUN)
  assert process.returncode == 0, process.stderr
  assert without_queries(kinds) == ["check", "create", *SETUP]
  (create,) = [call for call in calls() if " create " in call]
  assert "tpu-vm create bert" in create and "--spot" in create
  assert "--accelerator-type=v5litepod-16" in create
  (start,) = [call for call in calls() if "nohup" in call]
  assert "--worker=all" in start and "--multihost" in start
  assert "--workdir=gs://bucket/bert" in start
  assert "still exists and is billed" in process.stderr


@pytest.mark.parametrize(
  # Unreachable; stopped after saving in time; terminated by JAX because another
  # worker was preempted first.
  "answer",
  [None, "75", "134"],
)
def test_a_preempted_run_is_created_again_and_resumes(launch, answer):
  gone = [[0, "PREEMPTED"], [0, "PREEMPTED"], ABSENT, READY]
  plan = {
    "describe": [*CREATED, *gone],
    "status": statuses("idle", answer, "idle", "0"),
    "logs": [BROKEN, [0, ""]],
  }
  process, kinds = launch(plan, "train", *TPU, "--delete_after", *RUN)
  assert process.returncode == 0, process.stderr
  kinds = without_queries(kinds)
  assert kinds == [
    "check",
    "create",
    *SETUP,
    "delete",
    "create",
    *AGAIN,
    "delete",
  ]


def test_capacity_is_waited_for_after_a_preemption(launch):
  gone = [[0, "PREEMPTED"], [0, "PREEMPTED"], *[ABSENT] * 5, READY]
  plan = {
    "describe": [*CREATED, *gone],
    "create": [[0, ""], *[[1, "no capacity"]] * 2, [0, ""]],
    "status": statuses("idle", None, "idle", "0"),
  }
  process, kinds = launch(plan, "train", *TPU, *RUN)
  assert process.returncode == 0, process.stderr
  assert kinds.count("create") == 4 and kinds.count("start") == 2


def test_a_broken_connection_does_not_restart_anything(launch):
  plan = {
    "describe": [READY],
    "status": statuses(None, "running", None, "running", "0"),
    "logs": [BROKEN, BROKEN, [0, ""]],
  }
  process, kinds = launch(plan, "train", *TPU, "--delete_after", *RUN)
  assert process.returncode == 0, process.stderr
  assert without_queries(kinds) == ["logs", "logs", "logs", "delete"]


def test_a_run_stopped_on_its_tpu_is_restarted(launch):
  plan = {"describe": [READY], "status": statuses("idle", "75", "75", "0")}
  process, kinds = launch(plan, "train", *TPU, *RUN)
  assert process.returncode == 0, process.stderr
  assert without_queries(kinds) == [*SETUP, *AGAIN]


def test_an_unknown_state_is_not_an_absent_tpu(launch):
  network = [1, "ERROR: network"]
  plan = {
    "describe": [READY, READY, network, network, READY],
    "status": statuses("running", None, "running", "0"),
  }
  process, kinds = launch(plan, "train", *TPU, *RUN)
  assert process.returncode == 0, process.stderr
  assert "create" not in kinds and "delete" not in kinds


def test_a_failing_gcloud_is_not_retried_before_creation(launch):
  plan = {"describe": [[1, "ERROR: you are not logged in"]]}
  process, kinds = launch(plan, "create", *TPU)
  assert process.returncode == 2 and kinds == ["describe"]
  assert "not logged in" in process.stderr


@pytest.mark.parametrize("delete_after", [True, False])
def test_a_failed_training_returns_its_exit_code(launch, delete_after):
  plan = {"describe": CREATED, "status": statuses("idle", "3")}
  extra = ["--delete_after"] * delete_after
  process, kinds = launch(plan, "train", *TPU, *extra, *RUN)
  assert process.returncode == 3
  assert kinds.count("start") == 1
  assert ("delete" in kinds) == delete_after
  assert ("still exists" in process.stderr) != delete_after


def test_a_failing_setup_is_tried_three_times(launch):
  plan = {"describe": [READY], "status": statuses("idle")}
  plan["install"] = [[1, "no network"]]
  process, kinds = launch(plan, "train", *TPU, *RUN)
  assert process.returncode == 1
  assert kinds.count("install") == 3 and "start" not in kinds


@pytest.mark.parametrize("force", [True, False])
def test_a_step_that_does_not_fit_creates_nothing(launch, force):
  plan = {
    "describe": CREATED,
    "check": [[1, "does not fit"]],
    "status": statuses("idle", "0"),
  }
  process, kinds = launch(plan, "train", *TPU, *["--force"] * force, *RUN)
  assert ("create" in kinds) == force
  assert process.returncode == (0 if force else 2)


def test_a_failed_creation_is_deleted(launch):
  plan = {
    "describe": [ABSENT, [0, "CREATING"], [0, "CREATING"], [0, "FAILED"]],
    "create": [[1, "broken"]],
  }
  process, kinds = launch(plan, "create", *TPU)
  assert process.returncode == 2
  assert without_queries(kinds) == ["create", "delete"]


def test_missing_capacity_suggests_queued(launch):
  plan = {"describe": [ABSENT], "create": [[1, "no capacity"]]}
  process, kinds = launch(plan, "create", *TPU)
  assert process.returncode == 2
  assert without_queries(kinds) == ["create"]
  assert "--queued" in process.stderr


def test_a_tpu_created_meanwhile_is_used(launch):
  plan = {"describe": [ABSENT, READY], "create": [[1, "ALREADY_EXISTS"]]}
  process, kinds = launch(plan, "create", *TPU)
  assert process.returncode == 0, process.stderr
  assert "delete" not in kinds


def test_a_stopped_tpu_is_started(launch, calls):
  process, kinds = launch({"describe": [[0, "STOPPED"], READY]}, "create", *TPU)
  assert process.returncode == 0, process.stderr
  assert "delete" not in kinds
  assert any(" start bert" in call for call in calls())


def test_a_queued_tpu_is_waited_for(launch, calls):
  plan = {
    "describe": [ABSENT, *[[0, "WAITING_FOR_RESOURCES"]] * 3, ACTIVE],
  }
  process, kinds = launch(plan, "create", *TPU, "--queued")
  assert process.returncode == 0, process.stderr
  assert kinds == ["describe", "create", *["describe"] * 4]
  assert any("queued-resources create bert" in call for call in calls())


def test_a_failed_queued_tpu_is_deleted(launch):
  plan = {"describe": [ABSENT, [0, "FAILED"]]}
  process, kinds = launch(plan, "create", *TPU, "--queued")
  assert process.returncode == 2
  assert kinds[-1] == "delete"


def test_every_slice_is_set_up_and_started(launch, calls):
  plan = {
    "describe": [ABSENT, ABSENT, ACTIVE],
    "status": statuses("idle", "0"),
  }
  process, _ = launch(plan, "train", *TPU, "--slices=2", *RUN)
  assert process.returncode == 0, process.stderr
  starts = [call for call in calls() if "nohup" in call]
  assert [call.split()[5] for call in starts] == ["bert-0", "bert-1"]
  (create,) = [call for call in calls() if " create " in call]
  assert "--node-count=2 --node-prefix=bert" in create
  (check,) = [call for call in calls() if "compile_check" in call]
  assert "--topology=v5litepod-16*2" in check


def test_a_recipe_file_is_copied_to_the_workers(launch, calls, tmp_path):
  (tmp_path / "mine.py").write_text("")
  plan = {"describe": [READY], "status": statuses("idle", "0")}
  config = f"--config={tmp_path / 'mine.py'}"
  process, _ = launch(plan, "train", *TPU, "--", config, RUN[-1])
  assert process.returncode == 0, process.stderr
  assert any("recipe.py bert:recipe.py" in call for call in calls())
  (start,) = [call for call in calls() if "nohup" in call]
  assert "--config=recipe.py" in start


def test_a_dry_run_prints_commands_without_running_them(launch):
  process, kinds = launch({}, "train", *TPU, "--spot", "--dry_run", *RUN)
  assert process.returncode == 0 and not kinds
  assert "still exists" not in process.stderr
  lines = [x for x in process.stderr.split("\n") if x.startswith("+ ")]
  for part in ("compile_check", "tpu-vm create", "pip wheel", "scp", "nohup"):
    assert any(part in line for line in lines)


def test_the_start_command_runs_in_a_shell(launch, calls, tmp_path):
  """Runs gcloud's --command locally, with a `train` that exits immediately."""
  plan = {"describe": [READY], "status": statuses("idle", "0")}
  override = "--config.data.corpus=text:a b's/*.txt"
  launch(plan, "train", *TPU, *RUN, override)
  (start,) = [call for call in calls() if "nohup" in call]
  worker = tmp_path / "worker"
  python = worker / "mlm_jax_venv" / "bin" / "python"
  python.parent.mkdir(parents=True)
  python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 75\n')
  python.chmod(0o755)
  command = start.partition("--command=")[2]
  script = f"{command}\nwhile [ ! -e train.exit ]; do sleep 0.05; done"
  subprocess.run(["bash", "-c", script], cwd=worker, timeout=20, check=True)
  assert override in (worker / "train.log").read_text().split("\n")
  assert (worker / "train.exit").read_text() == "75\n"
  (logs,) = [call for call in calls() if "--command=tail" in call]
  shown = subprocess.run(
    ["bash", "-c", logs.partition("--command=")[2]],
    cwd=worker,
    timeout=20,
    capture_output=True,
    text=True,
  )
  assert override in shown.stdout


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["trian", *TPU], "unknown command 'trian'"),
    (["create", "--zone=z"], "--name and --zone"),
    (["create", "--name=a", "--zone=z"], "--type"),
    (["create", *TPU[:2], "--type=v9-8"], "--version"),
    (["create", *TPU, "--slices=two"], "--slices must be"),
    (["create", *TPU, "--spto"], "unknown option '--spto'"),
    (["train", *TPU], "--workdir=gs://..."),
    (["train", *TPU, "--", "--workdir=/tmp/x"], "must be on gs://"),
    (["train", *TPU, *RUN, "--steps", "5"], "'--steps'"),
  ],
)
def test_bad_input_gets_one_line_and_no_call(launch, arguments, message):
  process, kinds = launch({}, *arguments)
  assert process.returncode == 2 and not kinds
  assert message in process.stderr and process.stderr.count("\n") == 1


def test_the_script_knows_the_exit_code_of_a_stopped_run():
  assert f"\nSTOPPED={STOPPED}\n" in SCRIPT.read_text()


def test_help_shows_the_header_of_the_script(launch):
  process, _ = launch({}, "--help")
  assert "--dry_run" in process.stdout and "set -e" not in process.stdout
