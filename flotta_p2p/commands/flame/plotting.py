"""`plot`: the values at an address as a curve, in the terminal or as a PNG."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from flame.types.portable import dump
from flotta_p2p.commands.flame.options import FILE, RUNS, json_option
from flotta_p2p.commands.flame.showing import as_time, is_array
from flotta_p2p.commands.flame.terminal_plot import draw
from flotta_p2p.commands.flame.which_run import space
from flotta_p2p.commands.output import show
from protocol.errors import Code, ConfigError, StorageError, WorkflowError

if TYPE_CHECKING:
    from flame.names.streams import Value

_ROWS: Final = 15
_COLUMNS: Final = 100
_MARKED_MAX: Final = 200  # of more points the marks would hide the line
_PNG_INCHES: Final = (8.0, 4.5)


class Curve(NamedTuple):
    xs: Sequence[float]
    ys: Sequence[float]
    x_label: str


@click.command(short_help="Plot numbers, or the last array, at an address.")
@click.argument("address")
@click.option("--png", type=FILE, help="Write a picture to this file; needs `pip install matplotlib`.")
@RUNS
@json_option
def plot(address: str, png: Path | None, runs: Path | None, as_json: bool) -> None:
    """Numbers at ADDRESS over time; of arrays the last one, over its index.

    \b
    Examples:
      flame plot '#lock/beat'
      flame plot '#/j41/lock/beat@-5m..' --png beat.png
      flame plot '#scope/trace[-1]'
    """
    from flame.names.selectors import split

    of = space(runs)
    curve = curve_of(address, list(of.read(address)))
    unit = of.list(split(address)[0])[0].unit
    if png is not None:
        _write_png(png, curve, address, unit)
        show({"png": str(png), "points": len(curve.ys)}, (f"{len(curve.ys)} points in {png}",), as_json=as_json)
        return
    columns = min(shutil.get_terminal_size().columns, _COLUMNS)
    lines = draw(curve.xs, curve.ys, columns=columns, rows=_ROWS, unit=unit, x_unit=curve.x_label)
    show({"x": list(curve.xs), "y": dump(list(curve.ys)), "unit": unit}, lines, as_json=as_json)


def curve_of(address: str, values: Sequence[Value]) -> Curve:
    """Raises WorkflowError(NOTHING_THERE | VALUE_WRONG)."""
    if not values:
        raise WorkflowError(Code.NOTHING_THERE, f"{address} has no value", next_step=f"`flame watch '{address}'`")
    newest = values[-1].value
    if is_array(newest) or isinstance(newest, list):
        numbers = newest.tolist() if is_array(newest) else newest
        return Curve(range(len(numbers)), [_number(address, one) for one in numbers], "index")
    began_ns = values[0].time_ns
    xs = [(one.time_ns - began_ns) / 1e9 for one in values]
    return Curve(xs, [_number(address, one.value) for one in values], f"s after {as_time(began_ns)}")


def _number(address: str, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        return float(value)
    raise WorkflowError(
        Code.VALUE_WRONG,
        f"{address} holds {type(value).__name__}, and only numbers and rows of numbers can be plotted",
        next_step=f"`flame cat '{address}'`",
    )


def _write_png(png: Path, curve: Curve, address: str, unit: str) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            Code.CONFIG_VALUE_WRONG,
            "--png needs matplotlib, which is not installed",
            next_step="pip install matplotlib, or leave --png out to plot in the terminal",
        ) from error
    figure = Figure(figsize=_PNG_INCHES, layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.xs, curve.ys, marker="." if len(curve.ys) < _MARKED_MAX else "")
    axes.set_title(address)
    axes.set_xlabel(curve.x_label)
    axes.set_ylabel(unit)
    try:
        figure.savefig(png, format="png")
    except OSError as error:
        raise StorageError(
            Code.FOLDER_UNUSABLE, f"{png} cannot be written: {error.strerror}", next_step="name another file"
        ) from error
