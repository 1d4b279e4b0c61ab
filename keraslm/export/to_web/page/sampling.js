// From logits to the next token, as keraslm.generation does it in Python: the same settings and
// seed give the same tokens. Python computes in float32: so do Float32Array and Math.fround.

const f32 = Math.fround;

/** Whether tokens are drawn; else the likeliest is taken. */
export function isSampled({ temperature, topK, topP, minP }) {
  if (temperature != null) return temperature > 0;
  return topK != null || topP != null || minP != null;
}

/**
 * Choose a token.
 * @param {Float32Array} logits of the whole vocabulary.
 * @param settings temperature, topK, topP, minP, repetitionPenalty, seed.
 * @param {Set<number>} seen token ids that the repetition penalty makes less likely.
 * @param {number} step the number of the new token.
 * @return {number} its id.
 */
export function nextToken(logits, settings, seen, step) {
  logits = penalised(logits, seen, f32(settings.repetitionPenalty ?? 1));
  if (!isSampled(settings)) return indexOfLargest(logits);
  const temperature = f32(settings.temperature ?? 1);
  logits = logits.map((x) => x / temperature);
  const share = uniform(settings.seed, 0, step);
  const { topK, topP, minP } = settings;
  if (topK == null && topP == null && minP == null) return draw(softmax(logits), share);
  const tokens = likeliest(logits, Math.min(topK ?? logits.length, logits.length));
  const p = softmax(Float32Array.from(tokens, (token) => logits[token]));
  const running = runningSum(p);
  const leastP = f32(f32(minP ?? 0) * p[0]);
  const weights = p.map((x, i) =>
    f32(running[i] - x) < f32(topP ?? 1) && x >= leastP ? x : 0);
  return tokens[draw(weights, share)];
}

function penalised(logits, seen, penalty) {
  if (penalty === 1) return logits;
  const changed = logits.slice();
  for (const id of seen) changed[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
  return changed;
}

function indexOfLargest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Indices of the k largest values, largest first; of equals the first. */
function likeliest(values, k) {
  const smallest = values.slice().sort()[values.length - k];
  const found = [];
  values.forEach((value, i) => value >= smallest && found.push(i));
  return found.sort((a, b) => values[b] - values[a]).slice(0, k);
}

function softmax(values) {
  const largest = values[indexOfLargest(values)];
  const powers = values.map((x) => Math.exp(f32(x - largest)));
  const total = f32(powers.reduce((sum, x) => sum + x, 0));
  return powers.map((x) => x / total);
}

function runningSum(values) {
  let sum = 0;
  return values.map((x) => (sum = f32(sum + x)));
}

/** Index at which the running sum of the weights passes a share of their total. */
function draw(weights, share) {
  const running = runningSum(weights);
  const total = running[running.length - 1];
  const goal = f32(share * total);
  return running.findIndex((x) => x > goal || x === total);
}

const P = 46337;
const CONSTANTS = [7919, 15485, 22807, 30449, 38183, 45413];

/** A number in (0, 1), a pure function of seed, row and step: keraslm/generation/random.py. */
export function uniform(seed, row, step) {
  const low = seed % P;
  const high = Math.floor(seed / P) % P;
  let [left, right] = [row % P, step % P];
  CONSTANTS.forEach((constant, i) => {
    const key =
      (((low * constant) % P) + ((high * CONSTANTS.at(i - 1)) % P) + CONSTANTS.at(i - 2)) % P;
    [left, right] = [right, (left + cube((right + key) % P)) % P];
  });
  const share = f32(f32(left + f32(f32(right + 0.5) / P)) / P);
  return Math.min(share, 1 - 2 ** -24);
}

function cube(x) {
  return (((x * x) % P) * x) % P;
}
