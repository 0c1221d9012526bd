"""Chat templates: what they render, and what they may not do."""

import json
import sys
from datetime import datetime

import pytest

from keras_lm.tokenizers import BytePairTokenizer, Tokenizer
from keras_lm.tokenizers.chat import render_chat

USER = {"role": "user", "content": "Hello <b> & you"}
ANSWER = {"role": "assistant", "content": "  Hi.  "}
SYSTEM = {"role": "system", "content": "Be brief."}

# A turn in marks, and a system message where there is none.
MARKED_TURNS = """
{%- if messages[0].role != "system" %}
{{- "<|im_start|>system\\nYou help.<|im_end|>\\n" }}
{%- endif %}
{%- for message in messages %}
    {{- "<|im_start|>" + message["role"] + "\\n" + message.content + "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\\n" }}
{%- endif %}
"""

# The system message is part of the first turn; turns alternate; an answer ends with a token.
INSTRUCTIONS = """\
{% if messages[0]['role'] == 'system' %}
    {% set system, turns = messages[0]['content'], messages[1:] %}
{% else %}
    {% set system, turns = '', messages %}
{% endif %}
{% for turn in turns %}
    {% if (turn['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('roles must alternate, ' + turn['role'] + ' does not') }}
    {% endif %}
    {% if turn['role'] == 'user' %}
        {%- set said = '<<' + system + '>> ' + turn['content'] if loop.first and system
            else turn['content'] %}
        {{- bos_token + '[INST] ' + said | trim + ' [/INST]' -}}
    {% else %}
        {%- generation %}{{- ' ' + turn['content'] | trim + ' ' + eos_token -}}{% endgeneration %}
    {% endif %}
{% endfor %}
"""

TOOLS = """
{%- set ns = namespace(calls=0) %}
{%- for tool in tools or [] %}{{ tool | tojson }}
{% endfor %}
{%- for message in messages %}
{%- if message.role == "skip" %}{% continue %}{% endif %}
{%- if message.tool_calls is defined %}{% set ns.calls = ns.calls + 1 %}{% endif %}
{%- if not loop.last %}{{ message.role }}, {% else %}{{ message.role }}{% endif %}
{%- endfor %} ({{ ns.calls }} {{ strftime_now("%Y") }})"""


def test_turns_in_marks():
    text = render_chat(MARKED_TURNS, [USER, ANSWER], add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nYou help.<|im_end|>\n"
        "<|im_start|>user\nHello <b> & you<|im_end|>\n"
        "<|im_start|>assistant\n  Hi.  <|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    text = render_chat(MARKED_TURNS, [SYSTEM, USER], add_generation_prompt=False)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello <b> & you<|im_end|>\n"
    )


def test_instructions():
    text = render_chat(
        INSTRUCTIONS, [SYSTEM, USER, ANSWER, USER], bos_token="<s>", eos_token="</s>"
    )
    assert text == (
        "<s>[INST] <<Be brief.>> Hello <b> & you [/INST] Hi. </s><s>[INST] Hello <b> & you [/INST]"
    )


def test_a_template_may_refuse_messages():
    with pytest.raises(ValueError, match="refuses these messages: roles must alternate, user"):
        render_chat(INSTRUCTIONS, [USER, USER], bos_token="", eos_token="")


def test_tools_loops_and_time():
    messages = [USER, {"role": "skip"}, {"role": "assistant", "tool_calls": [1]}]
    text = render_chat(TOOLS, messages, tools=[{"name": "né<b>", "n": [1, None]}])
    assert text == (
        '{"name": "né<b>", "n": [1, null]}\n'
        f"user, assistant (1 {datetime.now().year})"
    )  # fmt: skip


def test_json():
    assert render_chat("{{ x | tojson }}", [], x="é<&>'") == '"é<&>\'"'
    assert render_chat("{{ x | tojson(indent=2) }}", [], x={"a": 1}) == '{\n  "a": 1\n}'
    given = "{{ x | tojson(sort_keys=true, separators=(',', ':'), ensure_ascii=true) }}"
    assert render_chat(given, [], x={"b": "é", "a": 1}) == '{"a":1,"b":"\\u00e9"}'


def test_several_templates():
    templates = [
        {"name": "default", "template": "d"},
        {"name": "tool_use", "template": "{{ tools | length }}"},
    ]
    assert render_chat(templates, [USER]) == "d"
    assert render_chat(templates, [USER], tools=None) == "d"
    assert render_chat(templates, [USER], tools=[{}, {}]) == "2"
    assert render_chat(templates[:1], [USER], tools=[{}]) == "d"
    with pytest.raises(ValueError, match="no chat template"):
        render_chat(templates[1:], [USER])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "unsafe"),
        ("{{ raise_exception.__globals__['json'] }}", "unsafe"),
        ("{% for i in range(1000000000) %}{% endfor %}", "Range too big"),
        ("{{ messages.append(1) }}", "not safely callable|unsafe"),
        ("{% set _ = messages[0].update({'role': 'system'}) %}", "not safely callable|unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% for %}", "Expected an expression|expected"),
        ("{% generation %}", "endgeneration|end of template"),
        ("{{ messages[0].content + 1 }}", "str"),
        ("{{ 1 / 0 }}", "zero"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
    ],
)
def test_what_a_template_may_not_do(template, message):
    with pytest.raises(ValueError, match=f"chat template refuses.*(?i:{message})"):
        render_chat(template, [dict(USER)])


def test_a_format_shows_no_more_than_the_template_may_see():
    assert render_chat("{{ '{0}{0.__class__}'.format('a') }}", []) == "a"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (["Hello"], r"messages\[0\]='Hello' must map 'role'"),
        ([USER, {"content": "Hello"}], r"messages\[1\]"),
    ],
)
def test_bad_messages(messages, message):
    with pytest.raises(ValueError, match=message):
        render_chat(MARKED_TURNS, messages)


def test_without_jinja(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match="pip install jinja2"):
        render_chat("", [])


# Through a tokenizer and its files


@pytest.mark.parametrize("form", ["settings", "list", "file"])
def test_saved_and_loaded(tokenizer, tmp_path, form):
    template = MARKED_TURNS + "{{ eos_token }}{{ mood }}"
    tokenizer.save(tmp_path)
    if form == "file":
        (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    else:
        path = tmp_path / "tokenizer_config.json"
        several = [{"name": "default", "template": template}]
        given = {"chat_template": several if form == "list" else template}
        path.write_text(json.dumps(json.loads(path.read_text()) | given), encoding="utf-8")
    loaded = Tokenizer.load(tmp_path)
    loaded.save(tmp_path / "again")
    for one in (loaded, Tokenizer.load(tmp_path / "again")):
        text = one.apply_chat_template([SYSTEM], add_generation_prompt=True, mood="!")
        assert text.endswith("Be brief.<|im_end|>\n<|im_start|>assistant\n<|endoftext|>!")


def test_the_file_comes_before_the_settings(tokenizer, tmp_path):
    settings = {"eos_token": "<|endoftext|>", "chat_template": "settings"}
    definition = tokenizer.get_config()["definition"]
    BytePairTokenizer(definition, settings).save(tmp_path)
    assert Tokenizer.load(tmp_path).apply_chat_template([USER]) == "settings"
    (tmp_path / "chat_template.jinja").write_text("file", encoding="utf-8")
    assert Tokenizer.load(tmp_path).apply_chat_template([USER]) == "file"


def test_a_tokenizer_without_template(tokenizer):
    with pytest.raises(ValueError, match="no chat template"):
        tokenizer.apply_chat_template([USER])
