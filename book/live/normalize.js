/** Local response normalization in TensorFlow's parameters, as `lrn_loop` of chapter 3. */
export function normalize(x, { depth_radius, bias, alpha, beta }) {
  return x.map((value, c) => {
    let energy = 0;
    const last = Math.min(c + depth_radius, x.length - 1);
    for (let i = Math.max(c - depth_radius, 0); i <= last; i++) energy += x[i] * x[i];
    return value / (bias + alpha * energy) ** beta;
  });
}
