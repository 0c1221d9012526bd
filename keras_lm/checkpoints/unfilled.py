"""Models whose variables have shapes and no memory yet: first the files are held against them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import keras

Made = TypeVar("Made")


def make_unfilled(make: Callable[[], Made]) -> tuple[Made, list[keras.Variable]]:
    """What `make` makes, and all variables that it has made; none has memory before it is filled.

    Inside a `keras.StatelessScope` Keras notes down variables instead of making them, and makes
    them later. The list of them is taken from it here: a model that is refused must not be made
    after all, and one that is read needs no random numbers first.
    """
    from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute

    noted = "uninitialized_variables"
    others = get_global_attribute(noted, [])
    mine: list[keras.Variable] = []
    set_global_attribute(noted, mine)
    try:
        with keras.StatelessScope(initialize_variables=False):
            return make(), mine
    finally:
        set_global_attribute(noted, others)


def fill(variable: keras.Variable, value: Any) -> None:
    """Gives a variable its first value, or a new one, in the variable's dtype."""
    value = keras.ops.convert_to_tensor(value, variable.dtype)
    if variable._value is None:
        variable._initialize(value)
        variable._initializer = None
    else:
        variable.assign(value)


def fill_the_rest(variables: Iterable[keras.Variable]) -> None:
    """Makes the variables that no file has given a value, as they would have been made."""
    for variable in variables:
        if variable._value is None:
            variable._deferred_initialize()
