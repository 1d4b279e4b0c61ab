// From logits to the next token, as keraslm.generation does it in Python: the same settings and
// seed give the same tokens. Python computes in float32: so do Float32Array and Math.fround.

const f32 = Math.fround;
const SEEDS = 2 ** 31 - 1;
const SIDE = 64; // tokens of a block, and blocks of a group, when a token is drawn
const HALVINGS = 30;
const SPAN = 40;

/** Whether tokens are drawn; else the likeliest is taken. */
export function isSampled({ temperature, topK, topP, minP }) {
  if (temperature != null) return temperature > 0;
  return Boolean(topK) || topP != null || minP != null;
}

/** The seed from 0 to 2 ** 31 - 2 that any whole number, also a BigInt, stands for. */
export function resolveSeed(seed) {
  if (seed == null) return crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;
  const rest = Number(BigInt(seed) % BigInt(SEEDS));
  return rest < 0 ? rest + SEEDS : rest;
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
  const temperature = Math.max(f32(settings.temperature ?? 1), 1e-30);
  const top = logits[indexOfLargest(logits)];
  const scaled = temperature === 1 ? logits : logits.map((x) => f32(x - top) / temperature);
  const largest = scaled[indexOfLargest(scaled)];
  const weights = scaled.map((x) => Math.exp(f32(x - largest)));
  keepTopK(scaled, weights, settings.topK ?? 0);
  keepTopP(scaled, weights, f32(settings.topP ?? 1));
  const share = f32(settings.minP ?? 0); // the likeliest token weighs 1
  for (let i = 0; i < weights.length; i++) if (weights[i] < share) weights[i] = 0;
  return draw(weights, settings.seed, step);
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

/** Leaves out all but the k likeliest, and those as likely as the last of them. */
function keepTopK(logits, weights, k) {
  if (k <= 0 || k >= logits.length) return;
  const border = logits.slice().sort()[logits.length - k];
  for (let i = 0; i < weights.length; i++) if (logits[i] < border) weights[i] = 0;
}

/**
 * Leaves out all but the likeliest that together reach a probability. Of tokens that are equally
 * likely at the border, as many as are needed stay, the first in the order of the vocabulary.
 */
function keepTopP(logits, weights, topP) {
  if (topP >= 1) return;
  const mass = f32(topP * f32(sum(weights)));
  let high = -Infinity;
  logits.forEach((x, i) => weights[i] > 0 && x > high && (high = x));
  let low = f32(high - SPAN);
  for (let n = 0; n < HALVINGS; n++) {
    const middle = f32(f32(low + high) * 0.5);
    const enough = f32(sumWhere(weights, (i) => logits[i] >= middle)) >= mass;
    if (enough) low = middle;
    else high = middle;
  }
  let border = Infinity;
  logits.forEach((x, i) => weights[i] > 0 && x >= low && x < border && (border = x));
  const above = f32(sumWhere(weights, (i) => logits[i] > border));
  const weight = weights[logits.indexOf(border)];
  let count = Math.max(Math.ceil(f32(f32(f32(mass - above) / weight) - 1e-4)), 1);
  for (let i = 0; i < weights.length; i++) {
    if (logits[i] < border || (logits[i] === border && count-- <= 0)) weights[i] = 0;
  }
}

function sum(values) {
  return values.reduce((total, x) => total + x, 0);
}

function sumWhere(values, isMeant) {
  let total = 0;
  for (let i = 0; i < values.length; i++) if (isMeant(i)) total += values[i];
  return total;
}

/** Draws a group of blocks by its weight, then a block, then a token: each wins a race. */
function draw(weights, seed, step) {
  const groups = Math.ceil(weights.length / SIDE ** 2);
  const levels = [
    [SIDE ** 2, groups, 2 * SIDE], // tokens of a part, parts, number of the first random number
    [SIDE, SIDE, SIDE],
    [1, SIDE, 0],
  ];
  let begin = 0;
  for (const [size, count, number] of levels.slice(groups > 1 ? 0 : 1)) {
    let [best, largest] = [0, -1];
    for (let i = 0; i < count; i++) {
      const part = sum(weights.subarray(begin + i * size, begin + (i + 1) * size));
      const score = f32(f32(part) / exponential(seed, 0, step, number + i));
      if (score > largest) [best, largest] = [i, score];
    }
    begin += size * best;
  }
  return begin;
}

const P = 46337;
const CONSTANTS = [7919, 15485, 22807, 30449, 38183, 45413];
const NUMBERS = [20011, 38201];

/** A number in (0, 1), a pure function of its arguments: keraslm/generation/random.py. */
export function uniform(seed, row, step, number = 0) {
  const low = seed % P;
  const high = Math.floor(seed / P) % P;
  let left = (row + number * NUMBERS[0]) % P;
  let right = (step + number * NUMBERS[1]) % P;
  CONSTANTS.forEach((constant, i) => {
    const key =
      (((low * constant) % P) + ((high * CONSTANTS.at(i - 1)) % P) + CONSTANTS.at(i - 2)) % P;
    [left, right] = [right, (left + cube((right + key) % P)) % P];
  });
  const share = f32(f32(left + f32(f32(right + 0.5) / P)) / P);
  return Math.min(share, 1 - 2 ** -24);
}

/** An exponentially distributed number above 0. */
function exponential(seed, row, step, number) {
  const u = uniform(seed, row, step, number);
  return f32(u < 0.01 ? u * (1 + u * (0.5 + u / 3)) : -Math.log(f32(1 - u)));
}

function cube(x) {
  return (((x * x) % P) * x) % P;
}
