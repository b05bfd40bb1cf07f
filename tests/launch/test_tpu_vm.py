"""launch/tpu_vm.sh, with stand-ins for gcloud and Python on the PATH."""

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

# It records its calls, and answers as a plan says: kind of call -> answers, in
# turn, the last one ever again. An answer is [exit code, text].
STAND_IN = """#!/usr/bin/env python3
import json, os, pathlib, sys

folder = pathlib.Path(os.environ["STAND_IN"])
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
  "ask": "--command=if kill",
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


def said(*answers):
  """What worker 0 says of its training, each time that it is asked."""
  return [BROKEN if answer is None else [0, answer] for answer in answers]


@pytest.fixture
def launch(tmp_path):
  """Returns a function: plan, arguments -> process, kinds of calls."""
  for name in ("gcloud", "python"):
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(STAND_IN)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)

  def launch(plan, *arguments):
    (tmp_path / "plan").write_text(json.dumps(plan))
    process = subprocess.run(
      [SCRIPT, *arguments],
      env={
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "PYTHON": str(tmp_path / "bin" / "python"),
        "STAND_IN": str(tmp_path),
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


def without_looks(kinds):
  return [kind for kind in kinds if kind not in ("describe", "ask")]


SETUP = ["wheel", "copy", "install", "start", "logs"]
AGAIN = SETUP[1:]  # The wheel is the first one's.
MADE = [ABSENT, ABSENT, READY]


def test_a_run_is_checked_created_set_up_started_and_followed(launch, calls):
  plan = {"describe": MADE, "ask": said("idle", "0")}
  process, kinds = launch(plan, "train", *TPU, "--spot", *RUN)
  assert process.returncode == 0, process.stderr
  assert without_looks(kinds) == ["check", "create", *SETUP]
  (create,) = [call for call in calls() if " create " in call]
  assert "tpu-vm create bert" in create and "--spot" in create
  assert "--accelerator-type=v5litepod-16" in create
  (start,) = [call for call in calls() if "nohup" in call]
  assert "--worker=all" in start and "--multihost" in start
  assert "--workdir=gs://bucket/bert" in start
  assert "still there, and paid for" in process.stderr


@pytest.mark.parametrize(
  # It cannot be asked any more; it was stopped, and saved, in time; another
  # worker went first, and JAX ended this one.
  "answer",
  [None, "75", "134"],
)
def test_a_preempted_run_is_created_anew_and_goes_on(launch, answer):
  gone = [[0, "PREEMPTED"], [0, "PREEMPTED"], ABSENT, READY]
  plan = {
    "describe": [*MADE, *gone],
    "ask": said("idle", answer, "idle", "0"),
    "logs": [BROKEN, [0, ""]],
  }
  process, kinds = launch(plan, "train", *TPU, "--delete_after", *RUN)
  assert process.returncode == 0, process.stderr
  kinds = without_looks(kinds)
  assert kinds == [
    *("check", "create", *SETUP),
    *("delete", "create", *AGAIN),
    "delete",
  ]


def test_room_is_waited_for_after_a_preemption(launch):
  gone = [[0, "PREEMPTED"], [0, "PREEMPTED"], *[ABSENT] * 5, READY]
  plan = {
    "describe": [*MADE, *gone],
    "create": [[0, ""], *[[1, "no capacity"]] * 2, [0, ""]],
    "ask": said("idle", None, "idle", "0"),
  }
  process, kinds = launch(plan, "train", *TPU, *RUN)
  assert process.returncode == 0, process.stderr
  assert kinds.count("create") == 4 and kinds.count("start") == 2


def test_a_broken_connection_makes_nothing_anew(launch):
  plan = {
    "describe": [READY],
    "ask": said(None, "running", None, "running", "0"),
    "logs": [BROKEN, BROKEN, [0, ""]],
  }
  process, kinds = launch(plan, "train", *TPU, "--delete_after", *RUN)
  assert process.returncode == 0, process.stderr
  assert without_looks(kinds) == ["logs", "logs", "logs", "delete"]


def test_a_run_that_was_stopped_on_its_tpu_is_started_again(launch):
  plan = {"describe": [READY], "ask": said("idle", "75", "75", "0")}
  process, kinds = launch(plan, "train", *TPU, *RUN)
  assert process.returncode == 0, process.stderr
  assert without_looks(kinds) == [*SETUP, *AGAIN]


def test_a_state_that_cannot_be_asked_is_no_absent_tpu(launch):
  network = [1, "ERROR: network"]
  plan = {
    "describe": [READY, READY, network, network, READY],
    "ask": said("running", None, "running", "0"),
  }
  process, kinds = launch(plan, "train", *TPU, *RUN)
  assert process.returncode == 0, process.stderr
  assert "create" not in kinds and "delete" not in kinds


def test_a_gcloud_that_cannot_answer_is_not_waited_for(launch):
  plan = {"describe": [[1, "ERROR: you are not logged in"]]}
  process, kinds = launch(plan, "create", *TPU)
  assert process.returncode == 2 and kinds == ["describe"]
  assert "not logged in" in process.stderr


@pytest.mark.parametrize("delete_after", [True, False])
def test_a_failed_training_ends_with_its_exit_code(launch, delete_after):
  plan = {"describe": MADE, "ask": said("idle", "3")}
  extra = ["--delete_after"] * delete_after
  process, kinds = launch(plan, "train", *TPU, *extra, *RUN)
  assert process.returncode == 3
  assert kinds.count("start") == 1
  assert ("delete" in kinds) == delete_after
  assert ("still there" in process.stderr) != delete_after


def test_a_setup_that_fails_is_tried_three_times(launch):
  plan = {"describe": [READY], "ask": said("idle")}
  plan["install"] = [[1, "no network"]]
  process, kinds = launch(plan, "train", *TPU, *RUN)
  assert process.returncode == 1
  assert kinds.count("install") == 3 and "start" not in kinds


@pytest.mark.parametrize("force", [True, False])
def test_what_does_not_fit_is_not_created(launch, force):
  plan = {
    "describe": MADE,
    "check": [[1, "does not fit"]],
    "ask": said("idle", "0"),
  }
  process, kinds = launch(plan, "train", *TPU, *["--force"] * force, *RUN)
  assert ("create" in kinds) == force
  assert process.returncode == (0 if force else 2)


def test_a_failed_creation_leaves_nothing(launch):
  plan = {
    "describe": [ABSENT, [0, "CREATING"], [0, "CREATING"], [0, "FAILED"]],
    "create": [[1, "broken"]],
  }
  process, kinds = launch(plan, "create", *TPU)
  assert process.returncode == 2
  assert without_looks(kinds) == ["create", "delete"]


def test_a_lack_of_room_names_the_queue(launch):
  plan = {"describe": [ABSENT], "create": [[1, "no capacity"]]}
  process, kinds = launch(plan, "create", *TPU)
  assert process.returncode == 2
  assert without_looks(kinds) == ["create"]
  assert "with --queued it would wait" in process.stderr


def test_what_another_has_made_just_now_is_left_alone(launch):
  plan = {"describe": [ABSENT, READY], "create": [[1, "ALREADY_EXISTS"]]}
  process, kinds = launch(plan, "create", *TPU)
  assert process.returncode == 0, process.stderr
  assert "delete" not in kinds


def test_a_tpu_that_its_owner_has_stopped_is_started(launch, calls):
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


def test_a_queued_tpu_that_fails_is_deleted(launch):
  plan = {"describe": [ABSENT, [0, "FAILED"]]}
  process, kinds = launch(plan, "create", *TPU, "--queued")
  assert process.returncode == 2
  assert kinds[-1] == "delete"


def test_every_slice_is_set_up_and_started(launch, calls):
  plan = {
    "describe": [ABSENT, ABSENT, ACTIVE],
    "ask": said("idle", "0"),
  }
  process, _ = launch(plan, "train", *TPU, "--slices=2", *RUN)
  assert process.returncode == 0, process.stderr
  starts = [call for call in calls() if "nohup" in call]
  assert [call.split()[5] for call in starts] == ["bert-0", "bert-1"]
  (create,) = [call for call in calls() if " create " in call]
  assert "--node-count=2 --node-prefix=bert" in create
  (check,) = [call for call in calls() if "compile_check" in call]
  assert "--topology=v5litepod-16*2" in check


def test_a_recipe_of_ones_own_goes_along(launch, calls, tmp_path):
  (tmp_path / "mine.py").write_text("")
  plan = {"describe": [READY], "ask": said("idle", "0")}
  config = f"--config={tmp_path / 'mine.py'}"
  process, _ = launch(plan, "train", *TPU, "--", config, RUN[-1])
  assert process.returncode == 0, process.stderr
  assert any("recipe.py bert:recipe.py" in call for call in calls())
  (start,) = [call for call in calls() if "nohup" in call]
  assert "--config=recipe.py" in start


def test_a_dry_run_prints_the_calls_and_makes_none(launch):
  process, kinds = launch({}, "train", *TPU, "--spot", "--dry_run", *RUN)
  assert process.returncode == 0 and not kinds
  assert "still there" not in process.stderr
  lines = [x for x in process.stderr.split("\n") if x.startswith("+ ")]
  for part in ("compile_check", "tpu-vm create", "pip wheel", "scp", "nohup"):
    assert any(part in line for line in lines)


def test_the_line_that_starts_a_worker_is_shell_that_does(
  launch, calls, tmp_path
):
  """What gcloud is given is run here, with a train that ends at once."""
  plan = {"describe": [READY], "ask": said("idle", "0")}
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
    **{"cwd": worker, "timeout": 20, "capture_output": True, "text": True},
  )
  assert override in shown.stdout


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["trian", *TPU], "unknown command 'trian'"),
    (["create", "--zone=z"], "--name and --zone are needed"),
    (["create", "--name=a", "--zone=z"], "--type is needed"),
    (["create", *TPU[:2], "--type=v9-8"], "--version is needed"),
    (["create", *TPU, "--slices=two"], "--slices must be a number"),
    (["create", *TPU, "--spto"], "unknown option '--spto'"),
    (["train", *TPU], "--workdir=gs://... is needed"),
    (["train", *TPU, "--", "--workdir=/tmp/x"], "must be on gs://"),
    (["train", *TPU, *RUN, "--steps", "5"], "does not take '--steps'"),
  ],
)
def test_bad_input_gets_one_line_and_makes_no_call(launch, arguments, said):
  process, kinds = launch({}, *arguments)
  assert process.returncode == 2 and not kinds
  assert said in process.stderr and process.stderr.count("\n") == 1


def test_the_script_knows_what_a_stopped_run_exits_with():
  assert f"\nSTOPPED={STOPPED}\n" in SCRIPT.read_text()


def test_help_shows_the_head_of_the_script(launch):
  process, _ = launch({}, "--help")
  assert "--dry_run" in process.stdout and "set -e" not in process.stdout
