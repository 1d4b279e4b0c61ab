// The tokenizer: tokenizers.js reads tokenizer.json and encodes; the decoders are here, because
// those of tokenizers.js differ from the engine's in Python in several cases.

import { Tokenizer } from "./vendor/huggingface-tokenizers/tokenizers.js";
import { cleanUp, joinChinese } from "./spacing.js";

export class TextTokenizer {
  /**
   * @param json the content of tokenizer.json.
   * @param options cleansUp: whether `decode` leaves out blanks before punctuation.
   */
  constructor(json, { cleansUp = false } = {}) {
    this.json = json;
    this.cleansUp = cleansUp;
    this.engine = engineOf(json);
    const special = json.added_tokens.filter((token) => token.special);
    this.hidden = new Set(special.map(({ id }) => id)); // ids that have no text
    this.hiddenNames = new Set(special.map(({ content }) => content));
    this.decoder = decoderOf(json.decoder);
    this.writesBlanks = !json.decoder || json.decoder.type === "WordPiece";
  }

  /**
   * Ids of a text.
   * @param options allowControlTokens: whether <|endoftext|> in the text is the token of that name;
   *     false for texts that others wrote: it is text like any other then.
   */
  encode(text, { allowControlTokens = true } = {}) {
    let { engine } = this;
    if (!allowControlTokens) {
      engine = this.plainEngine ??= engineOf(withoutControlTokens(this.json));
    }
    return engine.encode(text, { add_special_tokens: false }).ids;
  }

  /** Text of ids, without that of special tokens; bytes that are no character become U+FFFD. */
  decode(ids) {
    const text = this.decodePlain(ids);
    return this.cleansUp ? cleanUp(text) : text;
  }

  /** `decode` before clean_up_tokenization_spaces. */
  decodePlain(ids) {
    const tokens = ids
      .map((id) => this.engine.id_to_token(id))
      .filter((token) => token !== undefined && !this.hiddenNames.has(token));
    const text = this.decoder(tokens).join("");
    return this.writesBlanks ? joinChinese(text) : text;
  }
}

// === Encoding ===

function engineOf(json) {
  const parts = {
    ...json,
    normalizer: withRareChinese(json.normalizer),
    pre_tokenizer: mended(json.pre_tokenizer),
    post_processor: null, // a prompt's template is in model.json
    decoder: null,
  };
  const engine = new Tokenizer(parts, { unk_token: json.model.unk_token });
  if (json.model.type === "Unigram") fuseWithinWords(engine.model);
  return engine;
}

/** Unknown parts of one word are one token, those of two words are two. */
function fuseWithinWords(model) {
  const encode = model.encode.bind(model);
  const isKnown = (token) => model.tokens_to_ids.has(token);
  model.fuse_unk = false; // that of all words together
  model.encode = (words) => words.flatMap((word) => {
    const fused = [];
    for (const token of encode([word])) {
      if (fused.length && !isKnown(token) && !isKnown(fused.at(-1))) fused.push(fused.pop() + token);
      else fused.push(token);
    }
    return fused;
  });
}

// What tokenizers.js takes for letters of a word are those of English.
const LETTER = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
const UNICODE_WORDS = {
  type: "Split",
  pattern: { Regex: `[${LETTER}]+|[^${LETTER}\\s]+` },
  behavior: "Removed",
  invert: true,
};

// It replaces blanks and does not split at them: unknown words next to each other would be one.
function withSplit(part) {
  const { replacement: blank = "\u2581", split = true } = part;
  if (!split) return part;
  const words = { Regex: `${blank}?[^${blank}]+|${blank}` };
  return {
    type: "Sequence",
    pretokenizers: [part, { type: "Split", pattern: words, behavior: "Removed", invert: true }],
  };
}

function mended(part) {
  if (part?.type === "Whitespace") return UNICODE_WORDS;
  if (part?.type === "Metaspace") return withSplit(part);
  if (part?.type !== "Sequence") return part;
  return { ...part, pretokenizers: part.pretokenizers.map(mended) };
}

// BERT has blanks around each Chinese character; tokenizers.js forgets those of two UTF-16 units.
const RARE_CHINESE = [
  ["\u{20000}", "\u{2a6df}"], ["\u{2a700}", "\u{2b73f}"], ["\u{2b740}", "\u{2b81f}"],
  ["\u{2b920}", "\u{2ceaf}"], ["\u{2f800}", "\u{2fa1f}"],
];
const BLANKS_AROUND_RARE_CHINESE = {
  type: "Replace",
  pattern: { Regex: `[${RARE_CHINESE.map((range) => range.join("-")).join("")}]` },
  content: " $& ",
};

function withRareChinese(part) {
  if (part?.type === "Sequence") {
    return { ...part, normalizers: part.normalizers.map(withRareChinese) };
  }
  if (part?.type !== "BertNormalizer" || !part.handle_chinese_chars) return part;
  return { type: "Sequence", normalizers: [BLANKS_AROUND_RARE_CHINESE, part] };
}

// A noncharacter: no text has it, so no text has a name that begins with it.
const HIDDEN = "\u{10ffff}";

/** A tokenizer.json whose special tokens no text can spell: keraslm/tokenizers/control.py. */
function withoutControlTokens(json) {
  const { vocab, merges, unk_token: unknown } = json.model;
  const names = json.added_tokens.filter((token) => token.special).map(({ content }) => content);
  const special = new Set(names.filter((name) => name !== unknown));
  const hidden = (name) => (special.has(name) ? HIDDEN + name : name);
  const renamed = Array.isArray(vocab) // of Unigram: pairs of a token and its score
    ? vocab.map(([name, score]) => [hidden(name), score])
    : Object.fromEntries(Object.entries(vocab).map(([name, id]) => [hidden(name), id]));
  const model = { ...json.model, vocab: renamed };
  if (merges) {
    model.merges = merges.filter((merge) => {
      const [left, right] = typeof merge === "string" ? merge.split(" ") : merge;
      return ![left, right, left + right].some((name) => special.has(name));
    });
  }
  return { ...json, model, added_tokens: json.added_tokens.filter((token) => !token.special) };
}

// === Decoding, as the engine in Python does it ===

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const strictUtf8 = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

// A function from tokens to strings for each type of decoder, from its settings.
const DECODERS = {
  Sequence: ({ decoders }) => {
    const steps = decoders.map(decoderOf);
    return (tokens) => steps.reduce((texts, step) => step(texts), tokens);
  },
  ByteLevel: () => (tokens) => [utf8.decode(Uint8Array.from(tokens.flatMap(bytesOf)))],
  WordPiece: ({ prefix, cleanup }) => (tokens) =>
    tokens.map((token, i) => {
      const isPart = token.startsWith(prefix);
      const text = i === 0 ? token : isPart ? token.slice(prefix.length) : ` ${token}`;
      return cleanup ? cleanUp(text.replaceAll(" do not", " don't")) : text;
    }),
  Metaspace: ({ replacement, prepend_scheme: scheme }) => (tokens) =>
    tokens.map((token, i) => token.replaceAll(replacement, i || scheme === "never" ? " " : "")),
  BPEDecoder: ({ suffix }) => (tokens) =>
    tokens.map((token, i) => token.replaceAll(suffix, i < tokens.length - 1 ? " " : "")),
  Replace: ({ pattern, content }) => (tokens) =>
    tokens.map((token) => token.replaceAll(pattern.String, () => content)),
  Fuse: () => (tokens) => [tokens.join("")],
  Strip: ({ content, start, stop }) => (tokens) => tokens.map((t) => strip(t, content, start, stop)),
  ByteFallback: () => withBytes,
};

function decoderOf(config) {
  if (!config) return (tokens) => [tokens.join(" ")];
  if (config.type in DECODERS) return DECODERS[config.type](config);
  throw new Error(`tokenizer.json has the decoder ${config.type}, which this page does not know.`);
}

/** The bytes that GPT-2 writes as visible characters, by character. */
const BYTES = new Map();
for (let byte = 0, others = 256; byte < 256; byte++) {
  const isVisible = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  BYTES.set(String.fromCodePoint(isVisible ? byte : others++), byte);
}

function bytesOf(token) {
  const bytes = Array.from(token, (character) => BYTES.get(character));
  return bytes.includes(undefined) ? [...new TextEncoder().encode(token)] : bytes;
}

function strip(token, content, start, stop) {
  let [begin, end] = [0, token.length];
  while (begin < Math.min(start, end) && token[begin] === content) begin++;
  while (token.length - end < stop && end > begin && token[end - 1] === content) end--;
  return token.slice(begin, end);
}

/** Runs of tokens such as <0xE4> as the characters that their bytes are, or one U+FFFD a byte. */
function withBytes(tokens) {
  const texts = [];
  let bytes = [];
  const end = () => {
    if (bytes.length) texts.push(charactersOf(bytes));
    bytes = [];
  };
  for (const token of tokens) {
    const [, digits] = token.match(/^<0x([0-9A-Fa-f]{2})>$/) ?? [];
    if (digits) {
      bytes.push(parseInt(digits, 16));
    } else {
      end();
      texts.push(token);
    }
  }
  end();
  return texts;
}

function charactersOf(bytes) {
  try {
    return strictUtf8.decode(Uint8Array.from(bytes));
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}
