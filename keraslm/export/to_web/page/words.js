// What the page says, in English and Chinese. index.html holds the English of its own text.

const rateOf = (rate, unit) => (rate == null ? "" : ` · ${rate.toFixed(1)} ${unit}`);

const en = {
  page: {},
  loading: (done, all) => (all ? `Loading the model: ${done} of ${all} MB` : "Loading the model"),
  ready: (threads) =>
    `Ready, ${threads ? "with threads" : "on one thread (see README.md for more)"}.`,
  withPrompt: (count) => `${count} with the prompt`,
  reading: "Reading the prompt",
  progress: (count, rate) => `${count} tokens${rateOf(rate, "tokens/s")}`,
  done: (count, rate) => `Done: ${count} tokens${rateOf(rate, "tokens/s")}`,
  error: (error) => error.message,
};

const zh = {
  page: {
    title: "语言模型",
    local: "在此浏览器中运行，您输入的内容不会离开本机。",
    prompt: "提示文本",
    settings: "设置",
    maxNewTokens: "最多新词元数",
    temperature: "温度",
    topK: "Top-k",
    topP: "Top-p",
    seed: "随机种子",
    temperatureNote: "温度为 0 时总是取最可能的词元，此时 top-k、top-p 和随机种子不起作用。",
    generate: "生成",
    stop: "停止",
    keys: "Ctrl+Enter 开始生成",
    starting: "正在启动。如果一直停在这里，请按 README.md 的说明启动网页服务：直接打开文件无法加载模型。",
    all: "不限",
    random: "随机",
    text: "文本",
  },
  loading: (done, all) => (all ? `正在加载模型：${done} / ${all} MB` : "正在加载模型"),
  ready: (threads) => (threads ? "就绪，使用多线程。" : "就绪，使用单线程（多线程见 README.md）。"),
  withPrompt: (count) => `连同提示共 ${count}`,
  reading: "正在读取提示文本",
  progress: (count, rate) => `${count} 个词元${rateOf(rate, "词元/秒")}`,
  done: (count, rate) => `完成：${count} 个词元${rateOf(rate, "词元/秒")}`,
  error: (error) => zhErrors[error.code]?.(error.values) ?? error.message,
};

const zhErrors = {
  full: ({ tokens, context }) =>
    `提示文本有 ${tokens} 个词元，已占满 ${context} 个词元的上下文，无法继续生成。请缩短提示文本。`,
  empty: () => "提示文本为空，而分词器没有表示文本开头的词元。请至少输入一个字符。",
  corrupt: ({ name }) => `${name} 与 model.json 的描述不符。请重新复制整个文件夹。`,
  missing: ({ name, reason }) => `无法加载 ${name}（${reason}）。请重新复制整个文件夹。`,
  unreadable: () => "LiteRT 无法运行 model.tflite。",
  newer: () => "model.json 的格式比此网页更新。",
};

/** The words for the browser's language, put into the page where it has text of its own. */
export function translate(document) {
  const isChinese = navigator.language.toLowerCase().startsWith("zh");
  if (!isChinese) return en;
  document.documentElement.lang = "zh";
  document.title = zh.page.title;
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = zh.page[element.dataset.text];
  }
  for (const element of document.querySelectorAll("[data-hint]")) {
    element.placeholder = zh.page[element.dataset.hint];
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.ariaLabel = zh.page[element.dataset.label];
  }
  return zh;
}
