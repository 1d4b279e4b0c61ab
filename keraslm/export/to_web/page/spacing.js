// Blanks that decoders write and that do not belong into the text: keraslm/tokenizers/spacing.py.

// What clean_up_tokenization_spaces changes, in the order of `transformers`.
const CLEAN_UP = [
  [" .", "."], [" ?", "?"], [" !", "!"], [" ,", ","], [" ' ", "'"], [" n't", "n't"],
  [" 'm", "'m"], [" 's", "'s"], [" 've", "'ve"], [" 're", "'re"],
];

// What becomes one of these on the way, and what may follow a change.
const PATTERNS = [...CLEAN_UP.map(([before]) => before), " n ' t", " ' \0"];

// Chinese characters, their punctuation and full-width forms.
const CHINESE =
  "\\u3000-\\u303f\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\uff00-\\uff60" +
  "\\u{20000}-\\u{2fa1f}\\u{30000}-\\u{323af}";
const BETWEEN_CHINESE = new RegExp(`(?<=[${CHINESE}]) (?=[${CHINESE}])`, "gu");

/** The text without blanks between Chinese characters. */
export function joinChinese(text) {
  return text.replace(BETWEEN_CHINESE, "");
}

/** The text without blanks before English punctuation and contractions. */
export function cleanUp(text) {
  return CLEAN_UP.reduce((cleaned, [before, after]) => cleaned.replaceAll(before, after), text);
}

/** How many characters at the end of a text `cleanUp` could change once more text follows. */
export function couldChange(text) {
  return Math.max(...PATTERNS.map((pattern) => lengthOfBeginning(text, pattern)));
}

/** Length of the longest beginning of a pattern, but not the whole, with which a text ends. */
export function lengthOfBeginning(text, pattern) {
  let length = pattern.length - 1;
  while (length > 0 && !text.endsWith(pattern.slice(0, length))) length--;
  return Math.max(length, 0);
}
