// What the part on the confusion matrix computes.

export const sum = (values) => values.reduce((a, b) => a + b, 0);

/** Count pairs of truth and answer: rows are true classes. */
export function count(answers, size) {
  const matrix = Array.from({ length: size }, () => new Array(size).fill(0));
  for (const [, truth, answer] of answers) matrix[truth][answer]++;
  return matrix;
}

/** The classes in an order: "name", by "recall" or "precision", or confused ones "near" each other. */
export function arrange(matrix, by) {
  const order = matrix.map((_, i) => i);
  const recall = (i) => matrix[i][i] / Math.max(1, sum(matrix[i]));
  const precision = (i) => matrix[i][i] / Math.max(1, sum(matrix.map((row) => row[i])));
  if (by === "recall") return order.sort((a, b) => recall(a) - recall(b));
  if (by === "precision") return order.sort((a, b) => precision(a) - precision(b));
  if (by !== "near") return order;
  // From the most confused pair on, next comes what is most confused with those that are there.
  const both = (a, b) => matrix[a][b] + matrix[b][a];
  const strength = (a, among) => Math.max(...among.filter((b) => b !== a).map((b) => both(a, b)));
  const taken = [order.reduce((a, b) => (strength(b, order) > strength(a, order) ? b : a))];
  while (taken.length < order.length) {
    const left = order.filter((i) => !taken.includes(i));
    taken.push(left.reduce((a, b) => (strength(b, taken) > strength(a, taken) ? b : a)));
  }
  return taken;
}
