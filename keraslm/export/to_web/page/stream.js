// Text of tokens that come one after the other: keraslm/tokenizers/stream.py.

import { cleanUp, couldChange, lengthOfBeginning } from "./spacing.js";

const BROKEN = /\ufffd+$/; // bytes that are no whole character, yet or for ever
const PENDING = 8; // so many tokens may be missing to a character; then it is broken for ever
const LONGEST_WINDOW = 64;
const BLANK_AT_END = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$/;

/** Lets text through up to the first of some strings, which may come in pieces. */
export class StopStrings {
  /** @param {string | string[]} stop the strings at which the text ends, no part of it. */
  constructor(stop = []) {
    this.stopped = false; // whether one came; nothing goes through after it
    this.stops = [stop].flat().filter(Boolean);
    this.held = "";
  }

  /** What goes through for certain. */
  add(piece) {
    return this.through(piece, false);
  }

  /** What was held back, when no text follows. */
  close() {
    return this.through("", true);
  }

  through(piece, isLast) {
    if (this.stopped) return "";
    const text = this.held + piece;
    const ends = this.stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
    if (ends.length) {
      this.stopped = true;
      return text.slice(0, Math.min(...ends));
    }
    const begun = this.stops.map((stop) => lengthOfBeginning(text, stop));
    const cut = isLast ? text.length : text.length - Math.max(0, ...begun);
    this.held = text.slice(cut);
    return text.slice(0, cut);
  }
}

/**
 * Decodes tokens as they come, after a prompt: joined, the pieces are the continuation.
 *
 * They equal the text of prompt and new tokens without the text of the prompt in front, for every
 * kind of tokenizer. A piece waits until no later token can change it. The cost of a token does
 * not grow with the text.
 */
export class TextStream {
  /**
   * @param {TextTokenizer} tokenizer of tokenizer.js.
   * @param {number[]} promptIds the tokens before the first new one.
   * @param options stop: a string or strings at which the text ends; prompt: the prompt as it was
   *     written. If it ends with white space that the tokenizer does not keep, the continuation
   *     begins without a blank.
   */
  constructor(tokenizer, promptIds = [], { stop = [], prompt = "" } = {}) {
    this.text = ""; // what was given so far
    this.stop = new StopStrings(stop);
    this.tokenizer = tokenizer;
    // The window begins where a piece ended, so never inside a character, and has the last piece
    // in front, for what the decoder does between two tokens.
    this.window = promptIds.filter((id) => !tokenizer.hidden.has(id));
    this.fresh = 0; // tokens of the window that are behind what is context only
    this.pending = 0; // tokens since a piece was given
    const before = this.decode(this.window);
    // Half a character at the end is completed by the first new token, unless the sign itself was
    // written there.
    const whole = BROKEN.test(prompt) ? before : before.replace(BROKEN, "");
    this.shown = this.finished(whole).length;
    this.dropsBlank = BLANK_AT_END.test(prompt) && !BLANK_AT_END.test(before);
  }

  /** Whether a stop string came. Nothing comes after it. */
  get stopped() {
    return this.stop.stopped;
  }

  /** The text that is certain with this token: often one word, sometimes nothing yet. */
  add(tokenId) {
    if (this.stopped || this.tokenizer.hidden.has(tokenId)) return "";
    this.window.push(tokenId);
    this.fresh += 1;
    this.pending += 1;
    const raw = this.decode(this.window);
    const text = this.finished(raw);
    const stable = this.stable(raw, text);
    const piece = text.slice(this.shown, stable).join("");
    this.shown = Math.max(this.shown, stable);
    if (piece) this.pending = 0;
    if (piece && stable === text.length) {
      this.keep(this.fresh, 0);
    } else if (this.fresh >= LONGEST_WINDOW) { // no piece ends where a token does, or blanks on end
      this.keep(LONGEST_WINDOW / 4, text.length - this.shown);
    }
    return this.give(piece);
  }

  /** The rest of the text, when no token follows. */
  close() {
    if (this.stopped) return "";
    const piece = this.finished(this.decode(this.window)).slice(this.shown).join("");
    [this.window, this.fresh, this.shown] = [[], 0, 0];
    return this.give(piece, true);
  }

  decode(ids) {
    return this.tokenizer.decodePlain(ids);
  }

  /** Forget all but the last tokens, whose text is given but for `rest` characters. */
  keep(count, rest) {
    let raw = "";
    let window = [];
    for (let number = count; number > 0; number--) {
      window = this.window.slice(-number);
      raw = this.decode(window);
      // Of several apostrophes in a row the first is cleaned up first: begin behind them.
      if (!(this.tokenizer.cleansUp && raw.trimStart().startsWith("'"))) break;
    }
    this.window = window;
    this.fresh = 0;
    this.shown = Math.max(0, this.finished(raw).length - rest);
  }

  /** The characters, counted as Python does: one of two UTF-16 units is one. */
  finished(raw) {
    return Array.from(this.tokenizer.cleansUp ? cleanUp(raw) : raw);
  }

  /** Length of the finished text that no later token changes. */
  stable(raw, text) {
    if (this.pending < PENDING) raw = raw.replace(BROKEN, "");
    if (this.tokenizer.cleansUp) raw = raw.slice(0, raw.length - couldChange(raw));
    const certain = this.finished(raw);
    let length = 0;
    while (length < certain.length && certain[length] === text[length]) length++;
    return length;
  }

  give(piece, isLast = false) {
    if (this.dropsBlank && piece) {
      piece = piece.replace(/^ /, "");
      this.dropsBlank = false;
    }
    const ready = this.stop.add(piece) + (isLast ? this.stop.close() : "");
    this.text += ready;
    return ready;
  }
}
