"""Chat templates: Jinja, rendered in its sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn


def render_chat(template: Any, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Renders a conversation as Transformers does.

    Args:
        template: the template, or what files that hold several spell as a list of `name` and
            `template`; `"default"` is taken then. None is an error.
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
        import jinja2.sandbox
    except ImportError as error:
        raise ImportError("chat templates need jinja2: pip install jinja2") from error

    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    if not isinstance(template, str):
        raise ValueError("this tokenizer has no chat template; write the prompt yourself")
    for position, message in enumerate(messages):
        if not isinstance(message, Mapping) or "role" not in message:
            raise ValueError(f"messages[{position}]={message!r} must map 'role' and 'content'")

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, indent: int | None = None) -> str:
        # Jinja's own escapes < and > for HTML.
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template).render(messages=messages, **variables)
    except jinja2.TemplateError as error:
        raise ValueError(f"the chat template refuses these messages: {error}") from error
