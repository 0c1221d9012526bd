"""Chat templates: Jinja, rendered in its sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn


def render_chat(template: Any, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Renders a conversation as Transformers does, in a sandbox.

    Args:
        template: the template, or what files that hold several spell as a list of `name` and
            `template`; `"tool_use"` is taken where there are `tools` and it is one of them, else
            `"default"`. None is an error.
        messages: a mapping with `role` and `content` each.
        **variables: what else the template may read.

    Raises:
        ValueError: there is no template, it is damaged, or it refuses the messages.
        ImportError: jinja2 is not installed.

    Example:

    >>> render_chat("{% for m in messages %}{{ m.role }}: {{ m.content }}\\n{% endfor %}",
    ...             [{"role": "user", "content": "Hello"}])
    'user: Hello\\n'
    """
    try:
        import jinja2
        import jinja2.ext
        import jinja2.nodes
        import jinja2.parser
        import jinja2.sandbox
    except ImportError as error:
        raise ImportError("chat templates need jinja2: pip install jinja2") from error

    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        for_tools = named.get("tool_use") if variables.get("tools") is not None else None
        template = for_tools or named.get("default")
    if not isinstance(template, str):
        raise ValueError("this tokenizer has no chat template; write the prompt yourself")
    for position, message in enumerate(messages):
        if not isinstance(message, Mapping) or "role" not in message:
            raise ValueError(f"messages[{position}]={message!r} must map 'role' and 'content'")

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks what the model says, for a loss; here it is only what it is."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template).render(messages=messages, **variables)
    except (jinja2.TemplateError, *_ERRORS_OF_TEMPLATES) as error:
        raise ValueError(f"the chat template refuses these messages: {error}") from error


# What an expression of a template may raise, the sandbox's limit of loops among them.
_ERRORS_OF_TEMPLATES = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As Transformers has it; Jinja's own escapes < and > for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
