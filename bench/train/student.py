"""The student in PyTorch: DeepSeek-V3's architecture, as one would write it plainly,
and the optimisers of its training step."""

import math

import torch
import torch.nn.functional as F
from torch import nn

LATENT_EPS = 1e-6
BALANCE = 1e-4  # weight of the mixture's balance loss
BIAS_STEP = 1e-3


class Batch:
    """One step's sequences. Whatever is not attention works on rows [rows, hidden];
    what the rows are is the layout's choice:

    padded        [sequences × longest]: every sequence padded to the longest
    packed        the tokens alone; queries, keys and values are padded for attention
    packed+mask   the tokens alone; attention over all of them with a block-diagonal mask

    A layout with +wide gives values zeros up to the width of the keys, without which
    PyTorch's fused attention does not take them. Experts take their tokens one expert after
    the other, with +batched all at once, each padded to the busiest, or with +grouped by
    PyTorch's own product of groups."""

    def __init__(self, sequences, layout):
        self.kind, *options = layout.split("+")
        if "mask" in options:
            self.kind += "+mask"
        self.wide = "wide" in options
        self.experts = next((o for o in options if o in ("batched", "grouped")), "each")
        lengths = [len(s["Tokens"]) - 1 for s in sequences]
        self.count, self.longest, self.tokens = len(lengths), max(lengths), sum(lengths)
        grid = torch.full((self.count, self.longest), -1)
        targets = grid.clone()
        for i, s in enumerate(sequences):
            t, r = torch.tensor(s["Tokens"]), max(s["ResponseFrom"], 1)
            grid[i, : lengths[i]] = t[:-1]
            targets[i, r - 1 : lengths[i]] = t[r:]
        self.at = (grid.flatten() >= 0).nonzero().squeeze(1)  # the tokens' places in the grid
        position = torch.arange(self.longest).expand(self.count, -1).flatten()
        sequence = torch.arange(self.count).repeat_interleave(self.longest)
        ids, targets = grid.flatten().clamp(min=0), targets.flatten()
        if self.kind != "padded":
            ids, targets, position, sequence = (x[self.at] for x in (ids, targets, position, sequence))
        self.ids, self.position, self.sequence = ids, position, sequence
        self.lengths = torch.tensor(lengths, dtype=torch.float32)
        self.loss_at = (targets >= 0).nonzero().squeeze(1)
        self.targets = targets[self.loss_at]
        if self.kind == "packed+mask":
            order = torch.arange(len(ids))
            self.mask = (sequence[:, None] == sequence) & (order[:, None] >= order)

    def attend(self, q, k, v, scale):
        """q, k, v: [rows, heads, width]; returns [rows, heads × width of v]."""
        width = v.shape[2]
        if self.wide:
            v = F.pad(v, (0, q.shape[2] - width))
        if self.kind == "packed+mask":
            q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=scale)
            return out[0, ..., :width].transpose(0, 1).flatten(1)
        if self.kind == "packed":
            q, k, v = (self.spread(x) for x in (q, k, v))
        q, k, v = (x.view(self.count, self.longest, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)  # padding is last, and seen by padding alone
        out = out[..., :width].transpose(1, 2).flatten(0, 1).flatten(1)
        return out[self.at] if self.kind == "packed" else out

    def spread(self, x):
        return x.new_zeros(self.count * self.longest, *x.shape[1:]).index_copy(0, self.at, x)


def rotate(x, turn):
    """Turns the pairs (x₀, x₁), (x₂, x₃), … of [rows, heads, width]. turn is a complex
    number a pair, or the tuple of its cosine and sine, which the compiler can fuse."""
    if isinstance(turn, tuple):
        (cos, sin), (a, b) = turn, x.float().unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


def linear(rows, cols):
    return nn.Linear(cols, rows, bias=False)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, self.heads, self.nope, self.rope, self.v = (c[k] for k in ("hidden_size", "num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
        self.latent = c["kv_lora_rank"]
        self.scale = 1 / math.sqrt(self.nope + self.rope)
        q = self.heads * (self.nope + self.rope)
        if c["q_lora_rank"]:
            self.q_a_proj, self.q_b_proj = linear(c["q_lora_rank"], d), linear(q, c["q_lora_rank"])
            self.q_a_layernorm = nn.RMSNorm(c["q_lora_rank"], eps=LATENT_EPS)
        else:
            self.q_proj = linear(q, d)
        self.kv_a_proj_with_mqa = linear(self.latent + self.rope, d)
        self.kv_a_layernorm = nn.RMSNorm(self.latent, eps=LATENT_EPS)
        self.kv_b_proj = linear(self.heads * (self.nope + self.v), self.latent)
        self.o_proj = linear(d, self.heads * self.v)

    def forward(self, x, batch, turn):
        q = self.q_proj(x) if hasattr(self, "q_proj") else self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q_nope, q_rope = q.view(-1, self.heads, self.nope + self.rope).split([self.nope, self.rope], -1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([self.latent, self.rope], -1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(-1, self.heads, self.nope + self.v)
        k_nope, v = kv.split([self.nope, self.v], -1)
        k_rope = rotate(k_rope[:, None], turn).expand(-1, self.heads, -1)
        q = torch.cat([q_nope, rotate(q_rope, turn)], -1)
        k = torch.cat([k_nope, k_rope], -1)
        return self.o_proj(batch.attend(q, k, v, self.scale))


class Heads(nn.Module):
    """Multi-head attention whose heads are rotated whole."""

    def __init__(self, c):
        super().__init__()
        d, self.heads, self.width = c["hidden_size"], c["num_attention_heads"], c["v_head_dim"]
        assert c["num_key_value_heads"] == self.heads
        self.q_proj, self.k_proj, self.v_proj = (linear(self.heads * self.width, d) for _ in range(3))
        self.o_proj = linear(d, self.heads * self.width)

    def forward(self, x, batch, turn):
        q, k, v = (p(x).view(-1, self.heads, self.width) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.o_proj(batch.attend(rotate(q, turn), rotate(k, turn), v, 1 / math.sqrt(self.width)))


class MLP(nn.Module):
    def __init__(self, d, width):
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = linear(width, d), linear(width, d), linear(d, width)

    def forward(self, x, batch=None):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Mixture(nn.Module):
    """Experts' weights are stacked, [experts, out, in]."""

    def __init__(self, c):
        super().__init__()
        d, w = c["hidden_size"], c["moe_intermediate_size"]
        self.experts, self.k, self.scaling = c["n_routed_experts"], c["num_experts_per_tok"], c["routed_scaling_factor"]
        self.gate = linear(self.experts, d)
        self.register_buffer("bias", torch.zeros(self.experts))
        self.replay = None  # the choices to take instead of its own
        self.gate_proj, self.up_proj = (nn.Parameter(torch.empty(self.experts, w, d)) for _ in range(2))
        self.down_proj = nn.Parameter(torch.empty(self.experts, d, w))
        self.shared_experts = MLP(d, w * c["n_shared_experts"])

    def forward(self, x, batch):
        score = self.gate(x).sigmoid()
        chosen = (score.detach() + self.bias).topk(self.k, -1).indices if self.replay is None else self.replay
        weight = score.gather(1, chosen)
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-20) * self.scaling
        order = chosen.flatten().argsort(stable=True)
        self.load = chosen.flatten().bincount(minlength=self.experts)
        token = order // self.k
        run = {"each": self.run_each, "batched": self.run_batched, "grouped": self.run_grouped}[batch.experts]
        out = run(x[token], chosen.flatten()[order]) * weight.flatten()[order, None]
        self.balance = self.balance_loss(score, batch)
        shared = self.shared_experts(x)
        return shared.index_add(0, token, out.to(shared.dtype))

    def run_each(self, rows, _):
        parts = []
        for e, rows in enumerate(rows.split(self.load.tolist())):
            if len(rows):
                parts.append(F.linear(F.silu(F.linear(rows, self.gate_proj[e])) * F.linear(rows, self.up_proj[e]), self.down_proj[e]))
        return torch.cat(parts)

    def run_batched(self, rows, expert):
        busiest = int(self.load.max())
        place = torch.arange(len(rows)) + (torch.arange(self.experts) * busiest - self.load.cumsum(0) + self.load)[expert]
        x = rows.new_zeros(self.experts * busiest, rows.shape[1]).index_copy(0, place, rows).view(self.experts, busiest, -1)
        x = torch.bmm(F.silu(torch.bmm(x, self.gate_proj.mT)) * torch.bmm(x, self.up_proj.mT), self.down_proj.mT)
        return x.flatten(0, 1)[place]

    def run_grouped(self, rows, _):
        ends = self.load.cumsum(0).int()

        def product(x, weight):
            return F.grouped_mm(x, weight.to(x.dtype).mT, offs=ends)

        if torch.is_autocast_enabled("cpu"):  # which does not know this product
            rows = rows.to(torch.get_autocast_dtype("cpu"))
        return product(F.silu(product(rows, self.gate_proj)) * product(rows, self.up_proj), self.down_proj)

    def balance_loss(self, score, batch):
        def by_sequence(rows):
            return rows.new_zeros(batch.count, self.experts).index_add(0, batch.sequence, rows)

        length = batch.lengths[:, None]
        favourite = torch.zeros_like(score).scatter_(1, score.detach().topk(self.k, -1).indices, 1)
        f = by_sequence(favourite) * (self.experts / self.k) / length
        p = by_sequence(score / score.sum(-1, keepdim=True)) / length
        return BALANCE / batch.count * (f * p).sum()

    def move_bias(self):
        self.bias += BIAS_STEP * torch.sign(self.load.sum() - self.load * self.experts)


class Layer(nn.Module):
    def __init__(self, c, i):
        super().__init__()
        d = c["hidden_size"]
        self.input_layernorm, self.post_attention_layernorm = (nn.RMSNorm(d, eps=c["rms_norm_eps"]) for _ in range(2))
        self.self_attn = (Heads if c.get("num_key_value_heads") else Attention)(c)
        self.mlp = MLP(d, c["intermediate_size"]) if i < c["first_k_dense_replace"] else Mixture(c)

    def forward(self, x, batch, turn):
        x = x + self.self_attn(self.input_layernorm(x), batch, turn)
        return x + self.mlp(self.post_attention_layernorm(x), batch)


class Student(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c["hidden_size"]
        self.embed_tokens = nn.Embedding(c["vocab_size"], d)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(d, eps=c["rms_norm_eps"])
        self.lm_head = linear(c["vocab_size"], d)
        if c["tie_word_embeddings"]:
            self.lm_head.weight = self.embed_tokens.weight
        half = torch.arange(0, c["qk_rope_head_dim"], 2, dtype=torch.float32)
        self.frequency = c["rope_theta"] ** (-half / c["qk_rope_head_dim"])
        self.mixtures = [layer.mlp for layer in self.layers if isinstance(layer.mlp, Mixture)]

    def load(self, tensors):
        """Takes weights with Hugging Face's names; every one must find its place."""
        own = dict(self.named_parameters()) | dict(self.named_buffers())
        taken = set()
        with torch.no_grad():
            for name, value in tensors.items():
                key = name.removeprefix("model.").replace("gate.e_score_correction_bias", "bias")
                if ".experts." in key:  # layers.1.mlp.experts.3.gate_proj.weight
                    prefix, rest = key.split(".experts.")
                    expert, kind, _ = rest.split(".")
                    key, place = f"{prefix}.{kind}", own[f"{prefix}.{kind}"][int(expert)]
                else:
                    place = own[key]
                if place.shape != value.shape:
                    raise ValueError(f"{name} is {tuple(value.shape)}, want {tuple(place.shape)}")
                place.copy_(value)
                taken.add(key)
        if missing := own.keys() - taken:
            raise ValueError(f"no weights for {sorted(missing)}")

    def forward(self, batch, real=False):
        """Returns the mean cross-entropy over the response, and the mixture's balance loss.
        real: rotary positions by real numbers, not complex ones."""
        angle = (batch.position[:, None] * self.frequency)[:, None]
        turn = (angle.cos(), angle.sin()) if real else torch.polar(torch.ones_like(angle), angle)
        x = self.embed_tokens(batch.ids)
        for layer in self.layers:
            x = layer(x, batch, turn)
        logits = self.lm_head(self.norm(x[batch.loss_at]))
        return F.cross_entropy(logits, batch.targets), sum(m.balance for m in self.mixtures)


def orthogonalise(grad, moment, momentum, dtype):
    """Moves the momentum of a stack of matrices and returns its five Newton–Schulz
    iterations, which work in dtype."""
    moment.lerp_(grad, 1 - momentum)
    x = grad.lerp(moment, momentum).to(dtype)
    rows, cols = x.shape[1:]
    if rows > cols:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    if rows > cols:
        x = x.mT
    return x.to(grad.dtype)


def heights(name, c):
    """The rows of the matrices that stand below each other in a parameter, as the
    projections of heads do; None if it is a single one, or a stack of experts."""
    key = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    if any(p in name for p in ("q_proj", "q_b_proj", "k_proj", "v_proj")):
        return [key] * c["num_attention_heads"]
    if "kv_b_proj" in name:
        return [c["qk_nope_head_dim"] + c["v_head_dim"]] * c["num_attention_heads"]
    if "kv_a_proj" in name:
        return [c["kv_lora_rank"], c["qk_rope_head_dim"]]
    return None


def pieces(t, rows):
    """Views of the matrices of a parameter or its gradient: [n, rows, cols] where they are
    of one height."""
    if rows is None:
        return [t if t.dim() == 3 else t[None]]
    if len(set(rows)) == 1:
        return [t.view(len(rows), rows[0], -1)]
    return [part[None] for part in t.split(rows)]


class Muon:
    """Momentum, orthogonalised by five Newton–Schulz iterations; matrices of one shape,
    experts and heads included, go through them as one batch. matrices are parameters
    with their heights."""

    def __init__(self, matrices, compiled, dtype, momentum=0.95):
        self.matrices, self.groups = matrices, {}
        with torch.no_grad():
            views = [v for p, rows in matrices for v in pieces(p, rows)]
        for i, v in enumerate(views):
            self.groups.setdefault(v.shape[1:], []).append(i)
        self.groups = [(at, [views[i] for i in at], torch.zeros(sum(len(views[i]) for i in at), *shape)) for shape, at in self.groups.items()]
        self.momentum, self.dtype = momentum, dtype
        self.orthogonalise = torch.compile(orthogonalise, dynamic=False) if compiled else orthogonalise

    @torch.no_grad()
    def step(self, lr):
        grads = [g for p, rows in self.matrices for g in pieces(p.grad, rows)]
        for at, views, moment in self.groups:
            x = self.orthogonalise(torch.cat([grads[i] for i in at]), moment, self.momentum, self.dtype)
            rows, cols = x.shape[1:]
            torch._foreach_add_(views, x.split([len(v) for v in views]), alpha=-lr * math.sqrt(max(1, rows / cols)))


def adamw_of(model, params):
    """AdamW over params, of which embeddings and output head have rates of their own."""
    embeddings, head = model.embed_tokens.weight, model.lm_head.weight
    assert embeddings is not head
    rest = [p for p in params if p is not embeddings and p is not head]
    groups = [{"params": rest, "rate": "LR"}, {"params": [embeddings], "rate": "EmbedLR"}, {"params": [head], "rate": "HeadLR"}]
    return torch.optim.AdamW(groups, lr=0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0, fused=True)


def step_adamw(adamw, options, rate):
    for group in adamw.param_groups:
        group["lr"] = options[group["rate"]] * rate
    adamw.step()


class Trainer:
    """The whole step: forward, backward, clipping, optimisers, router biases. way is
    eager or compile; precision fp32, or bf16 for autocast and a Muon in bfloat16."""

    def __init__(self, setup, weights, layout, way="eager", precision="fp32"):
        self.way, self.precision = way, precision
        compiled, low = way == "compile", precision == "bf16"
        self.options, self.warmup = setup["options"], setup["warmup_steps"]
        self.model = Student(setup["config"])
        self.model.load(weights)
        self.batch = Batch(setup["data"], layout)
        matrices, others = [], []
        for name, p in self.model.named_parameters():
            hidden = "_proj" in name
            if hidden and self.options["Optimizer"] == "muon":
                matrices.append((p, heights(name, setup["config"])))
            else:
                others.append(p)
        assert self.options["WeightDecay"] == 0
        self.muon = Muon(matrices, compiled, torch.bfloat16 if low else torch.float32) if matrices else None
        self.adamw = adamw_of(self.model, others)
        self.params = [p for p, _ in matrices] + others
        self.done = 0
        varying = self.model.mixtures and self.batch.experts != "grouped"  # sizes that are others at every step
        self.forward = torch.compile(self.model, dynamic=None if varying else False) if compiled else self.model
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=low)

    def step(self, experts=None):
        """Returns loss and norm of the gradient. experts are the choices of the mixtures'
        routers, if not their own."""
        for m, chosen in zip(self.model.mixtures, experts or ()):
            m.replay = torch.tensor(chosen).view(-1, m.k)
        self.done += 1
        rate = min(1, self.done / self.warmup)
        with self.autocast:
            loss, balance = self.forward(self.batch, real=self.way == "compile")
        (loss + balance).backward()
        norm = nn.utils.clip_grad_norm_(self.params, self.options["ClipNorm"], foreach=True)
        step_adamw(self.adamw, self.options, rate)
        if self.muon:
            self.muon.step(self.options["MuonLR"] * rate)
        for p in self.params:
            p.grad = None
        for m in self.model.mixtures:
            m.move_bias()
            m.replay = None
        return loss.item(), norm.item()
