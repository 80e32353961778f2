"""Claims that are often made and wrong: none may be a right answer, a hint or a why of a drill."""

import re
from functools import lru_cache

CLAIMS: tuple[tuple[str, str], ...] = (
    (r"(sees?|field of) 9\b.*three 3\s*[x×]\s*3", "three convolutions of 3x3 see 7"),
    (r"attention is invariant", "attention is equivariant to the order, not invariant"),
    (r"(rotary|rope)[^.]* (is )?added to (the )?(x|input|embedding)", "rotary positions turn queries and keys"),
    (r"(rotary|rope|sinusoid\w*)[^.]* extrapolates? well", "neither rotary nor sinusoidal positions extrapolate well"),
    (r"flash\w*[^.]* (fewer|less) (flops|operations)[^.]* backward", "its backward pass computes more, not less"),
    (r"checkpointing[^.]* (saves?|costs?) 50", "checkpointing costs one more forward pass"),
    (r"eval[^.]* moves? batchnorm|batchnorm[^.]* moves? in eval", "BatchNorm's statistics move in training"),
    (r"bayesian[^.]* (are|is) calibrated", "a Bayesian network is not calibrated by nature"),
    (r"dead (relu|unit)s?[^.]* (because of|by) depth", "dead units come from too high a rate, not from depth"),
    (r"adam[^.]* (fails?|diverges?)[^.]* weight decay", "Adam fails by a short memory of the second moment"),
    (r"v_t explodes", "the early second moment is noisy; it does not explode"),
    (r"conformal[^.]* largest score", "the threshold is the k-th smallest score"),
    (r"jamba[^.]* (1:4|4:1|one in (four|five))", "Jamba has one attention layer in eight"),
    (r"mamba[^.]* state[^.]* o\(d\)(?!n)", "the state is N numbers for each channel"),
    (r"wavenet[^.]* (sees|hears) (1 s|a second|one second)", "WaveNet sees 192 to 240 ms"),
    (r"lstm[^.]* step[^.]* o\(n\)", "a step of an LSTM takes the same time at any length"),
    (r"speculat\w+[^.]* 60 %", "speculation pays where the acceptance exceeds the cost of a draft"),
    (r"t-sne[^.]* o\(n(²|\^2|\*\*2)\) by default", "the usual t-SNE is O(n log n)"),
    (r"rmsnorm (is|equals) layernorm(?![^.]*cent)", "RMSNorm equals LayerNorm on centred input only"),
    (r"gradient of a residual[^.]* is f'(?!\s*\+)", "a residual's gradient is 1 + F'"),
)
"""A pattern, and what is right instead."""
_COMPILED = tuple((re.compile(pattern), right) for pattern, right in CLAIMS)


@lru_cache(maxsize=4096)
def wrong_claims(text: str) -> tuple[str, ...]:
    """What is right, for each wrong claim that a text makes."""
    flat = " ".join(text.lower().split())
    return tuple(right for pattern, right in _COMPILED if pattern.search(flat))
