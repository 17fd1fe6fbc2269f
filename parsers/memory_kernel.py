"""Bytes at addresses, for compiled loops. Functions that are given arrays count who holds them at every call; those given addresses do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit, types
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])


def inlined(function: _Function) -> _Function:
    """`function`, compiled into whatever calls it: a call for each byte would cost more than what it does."""
    return cast("_Function", njit(nogil=True, forceinline=True)(function))


def _load(kind: Any) -> Any:
    def load(_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba asks for the names
        def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            place = builder.inttoptr(given[0], context.get_value_type(kind).as_pointer())
            return builder.load(place, align=1)

        return kind(types.int64), code

    return intrinsic(load)


def _store(kind: Any) -> Any:
    def store(_context: Any, address: Any, value: Any) -> Any:  # noqa: ARG001 - numba asks for the names
        def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
            place = builder.inttoptr(given[0], context.get_value_type(kind).as_pointer())
            builder.store(given[1], place, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, kind), code

    return intrinsic(store)


# A byte, and the eight bytes from any address on.
byte_at: Any = _load(types.uint8)
word_at: Any = _load(types.uint64)
put_byte: Any = _store(types.uint8)
put_word: Any = _store(types.uint64)
