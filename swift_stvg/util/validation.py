"""Checks that records run when they are made, so that arithmetic can trust the records.

Each function returns its value in the form that the record keeps, or raises a RecordError that names the field, the
rule, the value and the place. Numbers may be lists or arrays of any width; they become int64 and float64.

Arguments of most functions: `name`, the field; `value` or `values`, its content; `where`, the place for the message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from swift_stvg.errors import RecordError
from swift_stvg.geometry import FloatArray, IntArray


def refuse(name: str, rule: str, seen: object, where: str = "") -> NoReturn:
    """Raise the error of a field that breaks a rule."""
    raise RecordError(f"`{name}` must {rule}, got {seen!s:.200}{where}")


def set_fields(record: object, **values: Any) -> None:
    """Set fields of a frozen record during its construction."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def integer(name: str, value: Any, where: str = "", *, low: float = -math.inf, high: float = math.inf) -> int:
    """One whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        refuse(name, f"be a whole number{_within(low, high)}", f"{value!r}", where)
    return int(value)


def number(name: str, value: Any, where: str = "", *, low: float = -math.inf, high: float = math.inf) -> float:
    """One finite number in [low, high]."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.number)
        or not (math.isfinite(value) and low <= value <= high)
    ):
        refuse(name, f"be a finite number{_within(low, high)}", f"{value!r}", where)
    return float(value)


def integer_pair(
    name: str, values: Any, where: str = "", *, low: float = -math.inf, high: float = math.inf
) -> tuple[int, int]:
    """Two whole numbers in [low, high], in any order."""
    if type(values) is tuple and len(values) == 2:  # a faster path for the usual case
        first, second = values
        if type(first) is int and type(second) is int and low <= first <= high and low <= second <= high:
            return first, second
    if not isinstance(values, Sequence | np.ndarray) or len(values) != 2:
        refuse(name, "be two whole numbers", f"{values!r}", where)
    return integer(name, values[0], where, low=low, high=high), integer(name, values[1], where, low=low, high=high)


def text(name: str, value: Any, where: str = "") -> str:
    """A text."""
    if not isinstance(value, str):
        refuse(name, "be text", f"{value!r}", where)
    return value


def boolean(name: str, value: Any, where: str = "") -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        refuse(name, "be True or False", f"{value!r}", where)
    return bool(value)


def integers(
    name: str,
    values: Any,
    where: str = "",
    *,
    least: float = 0,
    most: float = math.inf,
    rising: str | None = "strictly",
) -> IntArray:
    """(K,) whole numbers in [least, most].

    Args:
        name, values, where: see the module's docstring.
        least, most: lower and upper bound.
        rising: "strictly" increasing, "weakly" increasing (a number may repeat), or None for any order.
    """
    known: IntArray = _column(name, values, where, "whole numbers", "iu", np.int64)
    _check_order(name, known, where, rising)
    if len(known) and not (
        least <= known[0] and known[-1] <= most if rising else least <= known.min() and known.max() <= most
    ):
        refuse(name, f"be whole numbers{_within(least, most)}", f"{known.min()} to {known.max()}", where)
    return known


def numbers(
    name: str,
    values: Any,
    where: str = "",
    *,
    low: float = -math.inf,
    high: float = math.inf,
    rising: str | None = None,
) -> FloatArray:
    """(K,) finite numbers in [low, high]; `rising` as for `integers`."""
    known: FloatArray = _column(name, values, where, "numbers", "iuf", np.float64)
    usable = np.isfinite(known) if math.isinf(high - low) else (known >= low) & (known <= high)
    if not usable.all():
        place = int(np.flatnonzero(~usable)[0])
        refuse(name, f"be finite numbers{_within(low, high)}", f"{known[place]} at position {place}", where)
    _check_order(name, known, where, rising)
    return known


def boxes(
    name: str, values: Any, of: Sized, where: str = "", *, largest: float | None, unread: bool = False
) -> FloatArray:
    """(K, 4) coordinates, one box for each element of `of`.

    Args:
        name, values, where: see the module's docstring.
        of: K elements; each has one box.
        largest: upper bound of magnitudes; None if the caller checks them.
        unread: whether NaN is allowed, for boxes that could not be read.
    """
    array = _array(name, values, where)
    if array.size == 0 and len(of) == 0:
        return np.empty((0, 4))
    if array.shape != (len(of), 4) or array.dtype.kind not in "iuf":
        refuse(name, f"be numbers ({len(of)}, 4)", f"{array.dtype} {array.shape}", where)
    known = array.astype(np.float64, copy=False)
    if largest is None:
        return known
    if known.max() <= largest and known.min() >= -largest:  # false for NaN
        return known
    usable = np.abs(known) <= largest
    if not usable.all() and not (unread and (usable | np.isnan(known)).all()):
        wrong = int(np.flatnonzero(~usable.all(axis=1))[0])
        seen = f"{known[wrong].tolist()} at position {wrong}"
        refuse(name, f"hold finite coordinates of at most {largest:g}", seen, where)
    return known


def same_length(of: str, where: str = "", **columns: Sized) -> int:
    """Check that all columns are as long as the first one, one value for each `of`; return the length."""
    (first, known), *others = columns.items()
    for name, values in others:
        if len(values) != len(known):
            refuse(name, f"hold one value for each {of}", f"{len(values)} for {len(known)} in `{first}`", where)
    return len(known)


def all_instances(name: str, values: Sequence[Any], kind: type | tuple[type, ...], how: str = "") -> None:
    """Check the type of every value. `how` says in the message where such a value comes from."""
    if isinstance(values, str | bytes | Mapping):
        refuse(name, "be a sequence", f"one {type(values).__name__}")
    for place, value in enumerate(values):
        if not isinstance(value, kind):
            kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            refuse(name, f"hold {kinds}{how}", f"{type(value).__name__} {value!r:.60} at position {place}")


def _array(name: str, values: Any, where: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError, OverflowError) as error:
        refuse(name, "be numbers", error, where)


def _column(name: str, values: Any, where: str, what: str, kinds: str, dtype: type) -> Any:
    """An array (K,) of type `dtype`, from numbers of the given kinds."""
    if type(values) is np.ndarray and values.dtype == dtype and values.ndim == 1:
        return values
    array = _array(name, values, where)
    if array.ndim != 1 or (array.dtype.kind not in kinds and array.size > 0):
        refuse(name, f"be {what} (K,)", f"{array.dtype} {array.shape}", where)
    return array.astype(dtype)


def _check_order(name: str, values: FloatArray | IntArray, where: str, rising: str | None) -> None:
    if rising is None:
        return
    steps = values[1:] > values[:-1] if rising == "strictly" else values[1:] >= values[:-1]
    if not steps.all():
        place = int(np.flatnonzero(~steps)[0]) + 1
        rule = "increase" if rising == "strictly" else "not decrease"
        refuse(name, rule, f"{values[place]} after {values[place - 1]} at position {place}", where)


def _within(low: float, high: float) -> str:
    if math.isinf(high):
        return "" if math.isinf(low) else f" from {low:g}"
    return f" in [{low:g}, {high:.10g}]"
