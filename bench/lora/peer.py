"""The other side of bench/lora: PyTorch with transformers and PEFT. See README.md."""

import math
import os
import pathlib
import shutil

import torch
import torch.nn.functional as F
from peft import PeftModel
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM


def convert(base, into):
    """Has transformers read a base once and write it as it reads it fastest."""
    path = pathlib.Path(base)
    if path.is_dir():
        return base
    model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)
    model.hf_quantizer = None  # it is no longer quantised
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(into)
    return into


def half_billion(setup, words, into):
    """Makes a model of Qwen2.5-0.5B's shape, of random weights, and gives it a tokenizer.json,
    which may know fewer tokens."""
    shutil.copyfile(words, os.path.join(into, "tokenizer.json"))
    config = Qwen2Config(vocab_size=151936, hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864,
                         max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=True, eos_token_id=setup["eos"], dtype=torch.bfloat16)
    torch.set_default_dtype(torch.bfloat16)
    Qwen2ForCausalLM(config).save_pretrained(into)
    torch.set_default_dtype(torch.float32)


class Trainer:
    """The whole step: forward, backward, clipping, AdamW. precision is fp32; bf16 for
    autocast over weights in fp32; or bf16 base for a base that is held in bfloat16, too."""

    def __init__(self, setup, base, adapter, way="eager", precision="fp32"):
        self.options, self.autocast = setup["options"], torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp32")
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if precision == "bf16 base" else torch.float32)
        self.model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
        self.model.train()  # there is no dropout
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.params, lr=self.options["LR"], betas=(0.9, 0.95), eps=1e-8, weight_decay=self.options["WeightDecay"], fused=True)
        tokens = torch.tensor([s["Tokens"] for s in setup["sequences"]])
        (response,) = {s["ResponseFrom"] for s in setup["sequences"]}
        self.ids, self.targets = tokens[:, :-1].contiguous(), tokens[:, response:].contiguous()
        self.tokens = self.ids.numel()
        self.loss = torch.compile(self.loss_of, dynamic=False) if way == "compile" else self.loss_of

    def loss_of(self):
        """The output head works on the response alone."""
        logits = self.model(self.ids, logits_to_keep=self.targets.shape[1], use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), self.targets.flatten())

    def gradients(self):
        with self.autocast:
            loss = self.loss()
        loss.backward()
        return loss.item()

    def step(self):
        loss = self.gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.params, self.options["ClipNorm"], foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm.item()

    def compare(self, gradients):
        """Returns how far loss and gradients are from ours at most, the latter relative to
        the largest, or to 1."""
        loss, worst, largest = self.gradients(), 0.0, 1.0
        theirs = {name.replace(".default.", "."): p.grad for name, p in self.model.named_parameters() if p.requires_grad}
        assert theirs.keys() == gradients.keys(), theirs.keys() ^ gradients.keys()
        for name, grad in theirs.items():
            worst = max(worst, (grad - gradients[name]).abs().max().item())
            largest = max(largest, grad.abs().max().item())
        self.optimizer.zero_grad(set_to_none=True)
        return loss, worst / largest if math.isfinite(worst) else math.inf
