// Exponents and arguments are clamped where the result no longer changes, so nothing overflows; NaN in x is propagated.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(clamp(-x, -80.0, 80.0)));
}

// 2 sqrt(2/pi) (x + 0.044715 x^3): with s its sigmoid, gelu_tanh(x) = x s, because (1 + tanh u) / 2 = sigmoid(2 u).
fn gelu_argument(x: f32) -> f32 {
    let c = clamp(x, -30.0, 30.0);
    return 1.5957691216057308 * (c + 0.044715 * c * c * c);
}

fn gelu(x: f32) -> f32 {
    return x * sigmoid(gelu_argument(x));
}

// d gelu / dx = s + x s (1 - s) du/dx
fn gelu_slope(x: f32) -> f32 {
    let u = gelu_argument(x);
    let c = clamp(x, -30.0, 30.0);
    let slope = 1.5957691216057308 * (1.0 + 0.134145 * c * c);
    return sigmoid(u) + x * sigmoid(u) * sigmoid(-u) * slope;
}

fn silu(x: f32) -> f32 {
    return x * sigmoid(x);
}

fn silu_slope(x: f32) -> f32 {
    return sigmoid(x) * (1.0 + x * sigmoid(-x));
}
