"""The report of a compile check, formatted for a terminal."""


def lines(report: dict, price: float = 0.0) -> list[str]:
  """Returns the lines of a report.

  Args:
    report: the result of `compile_check.check`.
    price: of one chip for one hour; 0 leaves out the cost.
  """
  if not report["fits"]:
    return [_headline(report), *_misfit(report)]
  result = [_headline(report), *_program(report)]
  if report["step_seconds"] is None:
    note = "no estimates for a step with a loop; try --per_device_batch"
    return [*result, _line("traffic, time", note)]
  return [*result, *_estimates(report, price)]


def _headline(report: dict) -> str:
  microbatches = report["microbatches"]
  suffix = f", {microbatches} micro-batches" if microbatches > 1 else ""
  return (
    f"{report['topology']}, {report['devices']} devices: "
    f"{report['batch_size']:,} rows of {report['seq_len']:,} tokens, "
    f"{report['per_device_batch']:,} per device{suffix}"
  )


def _misfit(report: dict) -> list[str]:
  available = report["hbm_available"]
  why = f"no: {report['why']}, {available} GiB available"
  result = [_line("fits", why)]
  for name, other in report.get("remedies", []):
    result.append(_line(f"  fits with {name}", f"{other['hbm_used']:.2f} GiB"))
  if report.get("remedies") == []:
    result.append(_line("", "none of the changes tried makes it fit"))
  return result


def _program(report: dict) -> list[str]:
  shares = ", ".join(
    f"{name} {report[name]:.2f}"
    for name in ("parameters", "optimizer", "activations", "program")
  )
  used, available = report["hbm_used"], report["hbm_available"]
  ratio = report["compiled_flops"] / report["model_flops"]
  result = [
    _line("fits", f"{used:.2f} of {available} GiB: {shares}"),
    _line("compiled in", f"{report['compile_seconds']} s"),
    _line("FLOPs", f"{ratio:.3f} times what the model must compute"),
  ]
  for collective in report["collectives"]:
    megabytes = f"{collective['bytes'] / 1e6:,.1f} MB sent per device"
    value = f"{collective['count']}, {megabytes}"
    result.append(_line(collective["kind"], value))
  return result


def _estimates(report: dict, price: float) -> list[str]:
  per_day = report["tokens_per_second"] * 86_400
  result = [
    _line("HBM traffic", f"{report['bytes_per_token'] / 1e6:.2f} MB per token"),
    "the compiler's estimates, not measured:",
    _line("step", f"{1e3 * report['step_seconds']:.1f} ms"),
    _line(
      "utilisation",
      f"{report['utilisation']:.1%}; {report['utilisation_outside']:.1%} "
      "outside attention",
    ),
    _line("tokens per day", f"{per_day / 1e9:,.1f} billion"),
    _line("whole run", f"{report['run_days']:,.1f} days"),
  ]
  if price:
    cost = price * 24 * report["run_days"] * report["chips"]
    result.append(_line("cost", f"{cost:,.0f} at {price} per chip-hour"))
  return result


def _line(name: str, value: str) -> str:
  return f"  {name:<20} {value}"
