"""pydantic's errors in the words of the person who writes settings. None of them repeats a value: it may be a secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from notifier.settings.faults import nearest

_RESERVED = frozenset(
    "include api_token_hashes external_url request_time_past_s request_time_future_s external_path".split()
)
"""Names of the contract whose effect is not built yet."""

_WORDS = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "path_type": "must be the path of a file, in quotes",
    "string_pattern_mismatch": "must match {pattern}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} in it",
    "value_error": "{error}",
}


def in_words(error: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong, and what to do."""
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        if name == "include":
            return "comes with a later version; this one reads a single file", "Put its channels and endpoints there."
        if name in _RESERVED:
            return "comes with a later version; this one has no such setting", "Take the line out."
        return "is not a setting", nearest(name, _known_names(model, error["loc"][:-1]))
    return rule_of(error), ""


def rule_of(error: ErrorDetails) -> str:
    """The rule that a value breaks."""
    words = _WORDS.get(error["type"])
    if words is None:
        return error["msg"][:1].lower() + error["msg"][1:]
    return words.format(**error.get("ctx", {}))


def _known_names(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The names that exist where the unknown one stands."""
    for step in loc:
        if isinstance(step, str):
            inner = next(_models_in(model.model_fields[step].annotation), None)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
