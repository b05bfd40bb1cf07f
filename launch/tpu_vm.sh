#!/usr/bin/env bash
# Trains on a Cloud TPU VM or pod slice, from creation to the end of the run.
#
#   launch/tpu_vm.sh train --name=bert --zone=us-west4-a --type=v5litepod-16 \
#     --spot -- --config=bert_base --workdir=gs://BUCKET/bert
#
#   create   creates the TPU and waits until it is ready
#   setup    installs this checkout of mlm_jax on every worker
#   train    does everything: checks that the step fits, creates the TPU, sets
#            it up, starts `train` on every worker and follows worker 0's log;
#            after a preemption it creates the TPU again, and training resumes
#            from the last checkpoint, until the run is finished
#   logs     follows worker 0's log
#   status   shows the TPU's state and the last line of the log
#   delete   deletes the TPU
#
#   --name=NAME --zone=ZONE  of the TPU
#   --type=TYPE              gcloud's type: v4-8, v5litepod-16, v5p-8, v6e-4
#   --project=PROJECT        default: gcloud's project
#   --version=VERSION        TPU software version; default: by the type
#   --queued                 use a queued resource, which waits for capacity
#   --spot                   cheaper, but may be preempted
#   --slices=N               N slices that train as one; implies --queued
#   --delete_after           delete the TPU when the run ends, or fails
#   --force                  train even if compile_check fails
#   --dry_run                print the commands without running them
#   -- ARGUMENTS             for `python -m mlm_jax train`; --workdir on gs://
#
# Ctrl-C stops following the log, not the training: the same `train` command
# follows it again. The machine that runs this script needs gcloud, Python with
# mlm_jax, and libtpu for the check ($PYTHON; default: python).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="${PYTHON:-python}"
POLL="${POLL_SECONDS:-20}"
COMMANDS="create, setup, train, logs, status, delete"
# The exit code of a `train` that was stopped before its end.
STOPPED=75

say() { echo "tpu_vm: $*" >&2; }
fail() { say "$*"; exit 2; }
usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; }

# Prints a command before running it; a repeated one only once.
call() {
  local line
  line="$(printf ' %q' "$@")"
  [[ "$line" == "$printed" ]] || echo "+$line" >&2
  printed="$line"
  [[ -n "$dry_run" ]] || "$@"
}

parse() {
  command="${1:-}"
  name="" zone="" type="" project="" version="" slices=1
  queued="" spot="" delete_after="" force="" dry_run=""
  arguments=()
  case "$command" in
    create | setup | train | logs | status | delete) shift ;;
    "" | -h | --help | help) usage; exit 0 ;;
    *) fail "unknown command '$command'; known: $COMMANDS" ;;
  esac
  while (($#)); do
    case "$1" in
      --name=* | --zone=* | --type=* | --project=* | --version=* | --slices=*)
        local key="${1%%=*}"
        printf -v "${key#--}" %s "${1#*=}"
        ;;
      --queued) queued=1 ;;
      --spot) spot=1 ;;
      --delete_after) delete_after=1 ;;
      --force) force=1 ;;
      --dry_run) dry_run=1 ;;
      -h | --help) usage; exit 0 ;;
      --) shift; arguments=("$@"); break ;;
      *) fail "unknown option '$1'; arguments of train go after --" ;;
    esac
    shift
  done
  [[ -n "$name" && -n "$zone" ]] || fail "--name and --zone are required"
  [[ "$slices" =~ ^[1-9][0-9]*$ ]] ||
    fail "--slices must be a positive number, not '$slices'"
  where=("--zone=$zone")
  [[ -z "$project" ]] || where+=("--project=$project")
  nodes=("$name")
  if ((slices > 1)); then
    queued=1 nodes=()
    # gcloud appends these numbers to the prefix.
    for ((i = 0; i < slices; i++)); do nodes+=("$name-$i"); done
  fi
}

need_type() {
  [[ -n "$type" ]] || fail "--type is required, such as v5litepod-16"
  [[ -z "$version" ]] || return 0
  case "$type" in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    v2-* | v3-* | v4-*) version=tpu-ubuntu2204-base ;;
    *) fail "--version is required: there is no default for --type=$type" ;;
  esac
}

tpu_vm() { call gcloud compute tpus tpu-vm "$@"; }
queue() { call gcloud compute tpus queued-resources "$@"; }

# Sets `state`: READY if training can start, empty if there is no TPU.
get_state() {
  local file="$scratch/state" found=0
  if [[ -n "$queued" ]]; then
    queue describe "$name" "${where[@]}" '--format=value(state.state)' \
      > "$file" 2> "$file.error" || found=$?
  else
    tpu_vm describe "$name" "${where[@]}" '--format=value(state)' \
      > "$file" 2> "$file.error" || found=$?
  fi
  grep '^+' "$file.error" >&2 || true # The printed command.
  state="$(< "$file")"
  state="${state/#ACTIVE/READY}"
  if [[ -n "$dry_run" ]]; then
    state="${created:+READY}"
  elif ((found)) && ! grep -q NOT_FOUND "$file.error"; then
    # gcloud failed, which does not mean that there is no TPU.
    grep -v '^+' "$file.error" >&2 || true
    state=UNKNOWN
  fi
}

# Creates the TPU, again after a preemption, and waits until it is ready. If it
# existed before, it waits without limit: capacity may be missing for a while.
create() {
  local last=""
  need_type
  while get_state && [[ "$state" != READY ]]; do
    [[ "$state" == "$last" ]] || say "$name: ${state:-not created yet}"
    last="$state"
    case "$state" in
      "") request ;;
      PREEMPTED | SUSPENDED | TERMINATED) delete || sleep "$POLL" ;;
      STOPPED) tpu_vm start "$name" "${where[@]}" || sleep "$POLL" ;;
      FAILED)
        delete || true
        [[ -n "$had" ]] || fail "creating $name failed"
        sleep "$POLL"
        ;;
      UNKNOWN)
        [[ -n "$had" ]] || fail "gcloud cannot get the state of $name"
        sleep "$POLL"
        ;;
      *) sleep "$POLL" ;;
    esac
  done
  had=1
}

request() {
  local options=("${where[@]}" "--accelerator-type=$type")
  [[ -z "$spot" ]] || options+=(--spot)
  if ((slices > 1)); then
    options+=("--node-count=$slices" "--node-prefix=$name")
  elif [[ -n "$queued" ]]; then
    options+=("--node-id=$name")
  fi
  if [[ -n "$queued" ]]; then
    queue create "$name" "${options[@]}" "--runtime-version=$version"
  else
    tpu_vm create "$name" "${options[@]}" "--version=$version"
  fi && created=1 && return
  # Someone else may have created it, or creation is half done: see `create`.
  get_state
  [[ -z "$state" ]] || return 0
  if [[ -n "$had" ]]; then
    sleep "$POLL"
    return
  fi
  [[ -n "$queued" ]] || say "--queued would wait for capacity"
  fail "could not create $name"
}

delete() {
  if [[ -n "$queued" ]]; then
    queue delete "$name" "${where[@]}" --force --quiet
  else
    tpu_vm delete "$name" "${where[@]}" --quiet
  fi
}

# Runs a shell command on a node's workers: all, or one by its number.
on() {
  tpu_vm ssh "$1" "${where[@]}" "--worker=$2" "--command=$3"
}

on_all() {
  local node
  for node in "${nodes[@]}"; do on "$node" all "$1" || return; done
}

# Every TPU of a run gets the same wheel, so the code does not change mid-run.
setup() {
  local wheel node
  if ! compgen -G "$scratch/*.whl" > /dev/null; then
    rm -rf "$ROOT/build" # Stale files would end up in the wheel.
    call "$PYTHON" -m pip wheel --quiet --no-deps \
      "--wheel-dir=$scratch" "$ROOT" || return
    rm -rf "$ROOT/build"
  fi
  wheel="$(cd "$scratch" && echo mlm_jax-*.whl)"
  for node in "${nodes[@]}"; do
    tpu_vm scp "$scratch/$wheel" "$node:$wheel" \
      "${where[@]}" --worker=all || return
    if [[ -n "$recipe" ]]; then
      tpu_vm scp "$recipe" "$node:recipe.py" \
        "${where[@]}" --worker=all || return
    fi
  done
  # The TPU VM's Python is too old; uv installs another.
  on_all "python3 -m pip install --user --quiet uv &&
python3 -m uv venv --quiet --allow-existing --python=3.12 mlm_jax_venv &&
python3 -m uv pip install --quiet --python=mlm_jax_venv \
  --reinstall-package=mlm_jax './${wheel}[tpu]'"
}

# Splits the arguments for `train` and the check. A local recipe file is copied
# to the workers. The check only gets the work directory, and so needs access to
# the bucket, if there is no recipe.
read_arguments() {
  local argument config="" workdir=""
  remote=() checked=() recipe=""
  for argument in ${arguments[@]+"${arguments[@]}"}; do
    case "$argument" in
      --config=*)
        config="${argument#*=}"
        checked+=("$argument")
        if [[ -f "$config" ]]; then
          recipe="$scratch/recipe.py"
          cp "$config" "$recipe"
          argument=--config=recipe.py
        fi
        ;;
      --config.*=*) checked+=("$argument") ;;
      --workdir=gs://*) workdir="$argument" ;;
      --workdir=*)
        fail "$argument must be on gs://: a TPU VM's disk is deleted with it"
        ;;
      *) fail "unknown argument '$argument' for train (write --key=value)" ;;
    esac
    remote+=("$argument")
  done
  [[ -n "$workdir" ]] || fail "-- --workdir=gs://... is required"
  [[ -n "$config" ]] || checked+=("$workdir")
}

check_fits() {
  local topology="$type"
  ((slices == 1)) || topology+="*$slices"
  say "compiling the step for $topology"
  call "$PYTHON" -m mlm_jax compile_check \
    "${checked[@]}" "--topology=$topology" ||
    [[ -n "$force" ]] || fail "nothing was created; --force skips this check"
}

# shellcheck disable=SC2016 # The worker expands it.
RUNNING='kill -0 "$(cat train.pid)" 2> /dev/null'

# Sets `answer` to worker 0's status: running, idle, or the exit code of
# `train`; empty if the worker cannot be reached.
get_status() {
  on "${nodes[0]}" 0 "if $RUNNING; then echo running
elif [ -e train.exit ]; then cat train.exit; else echo idle; fi" \
    > "$scratch/answer" || true
  answer="$(< "$scratch/answer")"
  [[ -z "$dry_run" ]] || answer="${started:-idle}"
}

start() {
  local train=(mlm_jax_venv/bin/python -m mlm_jax train --multihost)
  local line
  train+=("${remote[@]}")
  line="$(printf '%q ' "${train[@]}")> train.log 2>&1; echo \$? > train.exit"
  on_all "$RUNNING || {
rm -f train.exit
nohup bash -c $(printf %q "$line") > /dev/null 2>&1 < /dev/null &
echo \$! > train.pid
}"
}

# Returns when training ends or the connection breaks.
logs() {
  on "${nodes[0]}" 0 "tail --lines=${1:-+1} --follow train.log &
while $RUNNING; do sleep 1; done; sleep 1; kill \$!"
}

train() {
  local lines=+1 failures=0
  started=""
  need_type
  read_arguments
  get_state
  [[ "$state" == READY ]] || check_fits
  while true; do
    create
    # If start failed on another worker, worker 0 may be waiting for it.
    if [[ -z "$started" ]] && ((failures == 0)); then
      get_status
      case "$answer" in
        "") sleep "$POLL"; continue ;;
        running) started=running ;;
      esac
    fi
    if [[ -z "$started" ]]; then
      if ! { setup && start; }; then
        answer="1, before training started"
        ((++failures < 3)) || break
        sleep "$POLL"
        continue
      fi
      started=0 failures=0 lines=+1
    fi
    logs "$lines" || true
    lines=5 # In case the connection broke.
    get_status
    [[ "$answer" != 0 ]] || break
    # When a worker is preempted, the others fail first, and the TPU's state
    # changes a little later.
    sleep "$POLL"
    get_state
    case "$state,$answer" in
      READY,running | READY, | UNKNOWN,*) ;;
      READY,"$STOPPED" | READY,idle) started="" ;;
      READY,*) break ;;
      *) started="" ;;
    esac
  done
  if [[ -n "$dry_run" ]]; then
    say "dry run: no command was run"
  elif [[ "$answer" == 0 ]]; then
    say "the run is finished"
  else
    say "training failed with exit code $answer; see its output above"
  fi
  if [[ -n "$delete_after" ]]; then
    delete
  elif [[ -z "$dry_run" ]]; then
    local this="--name=$name --zone=$zone"
    this+="${project:+ --project=$project}${queued:+ --queued}"
    say "$name still exists and is billed; to delete it: $0 delete $this"
  fi
  return "${answer%%,*}"
}

status() {
  get_state
  echo "$name: ${state:-does not exist}"
  [[ "$state" != READY ]] || on "${nodes[0]}" 0 "tail --lines=1 train.log"
}

parse "$@"
created="" had="" recipe="" printed="" state="" answer="" started=""
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
# Otherwise a Ctrl-C handled by gcloud would look like a broken connection.
trap 'exit 130' INT
"$command"
