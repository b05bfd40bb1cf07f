#!/usr/bin/env bash
# Trains on a Cloud TPU VM or pod slice, from its creation to the run's end.
#
#   launch/tpu_vm.sh train --name=bert --zone=us-west4-a --type=v5litepod-16 \
#     --spot -- --config=bert_base --workdir=gs://BUCKET/bert
#
#   create   makes the TPU and waits for it
#   setup    installs this checkout's mlm_jax on every worker
#   train    all of it: checks that the step fits, creates, sets up, starts
#            `train` on every worker and shows worker 0's log; what is
#            preempted is made anew and goes on from the last checkpoint, until
#            the run is done
#   logs     shows worker 0's log
#   status   the TPU's state, and the last line of the log
#   delete   deletes it
#
#   --name=NAME --zone=ZONE  which TPU
#   --type=TYPE              as gcloud says: v4-8, v5litepod-16, v5p-8, v6e-4
#   --project=PROJECT        else gcloud's own
#   --version=VERSION        of the TPU's software, else the type's usual one
#   --queued                 wait in the queue of queued resources
#   --spot                   cheaper, and may be preempted
#   --slices=N               N slices that train as one; implies --queued
#   --delete_after           delete the TPU when the run has ended, well or not
#   --force                  train even if compile_check says it will not fit
#   --dry_run                print the calls and make none
#   -- ARGUMENTS             of `python -m mlm_jax train`; --workdir on gs://
#
# Ctrl-C ends the watching and leaves the training alone: the same `train` goes
# on watching. The machine that watches needs gcloud, and Python with mlm_jax,
# and libtpu for the check ($PYTHON, else python).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="${PYTHON:-python}"
POLL="${POLL_SECONDS:-20}"
COMMANDS="create, setup, train, logs, status, delete"
# What `train` returns when it was stopped before the end.
STOPPED=75

say() { echo "tpu_vm: $*" >&2; }
fail() { say "$*"; exit 2; }
usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; }

# Prints a call before it is made, once where it is repeated.
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
      *) fail "unknown option '$1'; what is for train comes after --" ;;
    esac
    shift
  done
  [[ -n "$name" && -n "$zone" ]] || fail "--name and --zone are needed"
  [[ "$slices" =~ ^[1-9][0-9]*$ ]] ||
    fail "--slices must be a number, not '$slices'"
  where=("--zone=$zone")
  [[ -z "$project" ]] || where+=("--project=$project")
  nodes=("$name")
  if ((slices > 1)); then
    queued=1 nodes=()
    # As gcloud numbers them behind the prefix.
    for ((i = 0; i < slices; i++)); do nodes+=("$name-$i"); done
  fi
}

need_type() {
  [[ -n "$type" ]] || fail "--type is needed, such as v5litepod-16"
  [[ -z "$version" ]] || return 0
  case "$type" in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    v2-* | v3-* | v4-*) version=tpu-ubuntu2204-base ;;
    *) fail "--version is needed: nothing is known of --type=$type" ;;
  esac
}

tpu_vm() { call gcloud compute tpus tpu-vm "$@"; }
queue() { call gcloud compute tpus queued-resources "$@"; }

# Sets `state`: READY where training can begin, empty where there is no TPU.
look() {
  local file="$scratch/state" found=0
  if [[ -n "$queued" ]]; then
    queue describe "$name" "${where[@]}" '--format=value(state.state)' \
      > "$file" 2> "$file.error" || found=$?
  else
    tpu_vm describe "$name" "${where[@]}" '--format=value(state)' \
      > "$file" 2> "$file.error" || found=$?
  fi
  grep '^+' "$file.error" >&2 || true # The call itself.
  state="$(< "$file")"
  state="${state/#ACTIVE/READY}"
  if [[ -n "$dry_run" ]]; then
    state="${created:+READY}"
  elif ((found)) && ! grep -q NOT_FOUND "$file.error"; then
    # Not to be taken for a TPU that is not there.
    grep -v '^+' "$file.error" >&2 || true
    state=UNKNOWN
  fi
}

# Makes the TPU, anew where it was preempted, and waits for it. What was there
# once is waited for as long as it takes: others may have the room for now.
create() {
  local last=""
  need_type
  while look && [[ "$state" != READY ]]; do
    [[ "$state" == "$last" ]] || say "$name: ${state:-not there yet}"
    last="$state"
    case "$state" in
      "") request ;;
      PREEMPTED | SUSPENDED | TERMINATED) delete || sleep "$POLL" ;;
      STOPPED) tpu_vm start "$name" "${where[@]}" || sleep "$POLL" ;;
      FAILED)
        delete || true
        [[ -n "$had" ]] || fail "could not get $name"
        sleep "$POLL"
        ;;
      UNKNOWN)
        [[ -n "$had" ]] || fail "gcloud cannot say how $name is"
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
  # Somebody may have made it just now, or it is half made: `create` sees to it.
  look
  [[ -z "$state" ]] || return 0
  if [[ -n "$had" ]]; then
    sleep "$POLL"
    return
  fi
  [[ -n "$queued" ]] || say "with --queued it would wait for room"
  fail "could not create $name"
}

delete() {
  if [[ -n "$queued" ]]; then
    queue delete "$name" "${where[@]}" --force --quiet
  else
    tpu_vm delete "$name" "${where[@]}" --quiet
  fi
}

# Runs a command line on workers (all, or a number) of a node.
on() {
  tpu_vm ssh "$1" "${where[@]}" "--worker=$2" "--command=$3"
}

on_all() {
  local node
  for node in "${nodes[@]}"; do on "$node" all "$1" || return; done
}

# Every worker, of every TPU of a run, has the code that the run began with.
setup() {
  local wheel node
  if ! compgen -G "$scratch/*.whl" > /dev/null; then
    rm -rf "$ROOT/build" # It would go into the wheel.
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
  # The TPU's own Python is too old; uv brings one.
  on_all "python3 -m pip install --user --quiet uv &&
python3 -m uv venv --quiet --allow-existing --python=3.12 mlm_jax_venv &&
python3 -m uv pip install --quiet --python=mlm_jax_venv \
  --reinstall-package=mlm_jax './${wheel}[tpu]'"
}

# Sorts what is for `train`. A recipe that lies here, and not in the package,
# goes along; the check wants no access to the bucket, if it can do without.
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
        fail "$argument must be on gs://: the disks of TPUs go with them"
        ;;
      *) fail "train does not take '$argument' here (write --key=value)" ;;
    esac
    remote+=("$argument")
  done
  [[ -n "$workdir" ]] || fail "-- --workdir=gs://... is needed"
  [[ -n "$config" ]] || checked+=("$workdir")
}

check_fits() {
  local topology="$type"
  ((slices == 1)) || topology+="*$slices"
  say "compiling the step for $topology"
  call "$PYTHON" -m mlm_jax compile_check \
    "${checked[@]}" "--topology=$topology" ||
    [[ -n "$force" ]] || fail "nothing was created; --force trains all the same"
}

# shellcheck disable=SC2016 # The worker expands it.
RUNNING='kill -0 "$(cat train.pid)" 2> /dev/null'

# Sets `answer`: what worker 0 does. running, idle, what `train` has exited
# with, or empty where it cannot be asked.
ask() {
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

# Ends when the training does, or the connection.
logs() {
  on "${nodes[0]}" 0 "tail --lines=${1:-+1} --follow train.log &
while $RUNNING; do sleep 1; done; sleep 1; kill \$!"
}

train() {
  local lines=+1 failures=0
  started=""
  need_type
  read_arguments
  look
  [[ "$state" == READY ]] || check_fits
  while true; do
    create
    # After a start that failed on one worker, worker 0 may wait for it.
    if [[ -z "$started" ]] && ((failures == 0)); then
      ask
      case "$answer" in
        "") sleep "$POLL"; continue ;;
        running) started=running ;;
      esac
    fi
    if [[ -z "$started" ]]; then
      if ! { setup && start; }; then
        answer="1, before it began"
        ((++failures < 3)) || break
        sleep "$POLL"
        continue
      fi
      started=0 failures=0 lines=+1
    fi
    logs "$lines" || true
    lines=5 # Should the connection have broken.
    ask
    [[ "$answer" != 0 ]] || break
    # A worker's preemption fails the others, and the TPU's state tells of it a
    # little later.
    sleep "$POLL"
    look
    case "$state,$answer" in
      READY,running | READY, | UNKNOWN,*) ;;
      READY,"$STOPPED" | READY,idle) started="" ;;
      READY,*) break ;;
      *) started="" ;;
    esac
  done
  if [[ -n "$dry_run" ]]; then
    say "nothing was called"
  elif [[ "$answer" == 0 ]]; then
    say "the run is done"
  else
    say "training failed with exit code $answer; what it said stands above"
  fi
  if [[ -n "$delete_after" ]]; then
    delete
  elif [[ -z "$dry_run" ]]; then
    local this="--name=$name --zone=$zone"
    this+="${project:+ --project=$project}${queued:+ --queued}"
    say "$name is still there, and paid for: $0 delete $this"
  fi
  return "${answer%%,*}"
}

status() {
  look
  echo "$name: ${state:-not there}"
  [[ "$state" != READY ]] || on "${nodes[0]}" 0 "tail --lines=1 train.log"
}

parse "$@"
created="" had="" recipe="" printed="" state="" answer="" started=""
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
# Or a Ctrl-C that gcloud took for itself would be one more broken connection.
trap 'exit 130' INT
"$command"
