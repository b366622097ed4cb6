// The page's words, in English and Chinese.

const percent = (share) => `${Math.round(share * 100)}%`;

const WORDS = {
  en: {
    lead: "Write digits; a network reads them as you write.",
    language: "Language",
    desk: "Writing",
    paper: "Paper to write on",
    hint: "Write here: one digit, or several",
    drop: "Drop the image here",
    tools: "Tools",
    undo: "Undo",
    clear: "Clear",
    open: "Open image",
    photograph: "Take photo",
    keys: "An image can also be dropped or pasted. By keyboard: arrow keys move the pen, with Shift faster; Space sets it down and lifts it; Ctrl+Z undoes, Delete clears.",
    reading: "Reading",
    digitsRead: "Digits read",
    probabilities: "Probabilities of the ten digits",
    seen: "What the network sees, 28 by 28 pixels",
    seenCaption: "What the network sees, 28 × 28",
    maps: "Activation maps of the first layer",
    mapsCaption: "What its first layer makes of it",
    nothing: "Nothing is written yet",
    none: "No digit here",
    digit: (digit, sure, confidence) =>
      `${digit}${sure ? "" : ", not sure"}, ${percent(confidence)}`,
    unsure: "not sure",
    bar: (digit, share) => `${digit}: ${percent(share)}`,
    announced: (text, unsure) => `It reads ${text.split("").join(" ")}${unsure ? "; not sure" : ""}`,
    about: (ms, network, version) => `Read in ${ms} ms by the ${network} network, version ${version}`,
    cleared: "Cleared",
    penDown: "Pen down",
    penUp: "Pen up",
    trouble: {
      unreachable: () => "The server does not answer. Trying again …",
      busy: () => "The server is busy. Trying again …",
      late: () => "The server took too long. Try a smaller image.",
      large: () => "This image is too large for the server.",
      refused: (why) => `This cannot be read: ${why}`,
      notImage: () => "This is not an image that can be read.",
    },
  },
  zh: {
    lead: "写下数字，网络随写随读。",
    language: "语言",
    desk: "书写",
    paper: "书写区",
    hint: "在这里写一个或几个数字",
    drop: "把图片放在这里",
    tools: "工具",
    undo: "撤销",
    clear: "清除",
    open: "打开图片",
    photograph: "拍照",
    keys: "也可以拖入或粘贴图片。用键盘：方向键移动笔，按住 Shift 更快；空格键落笔和提笔；Ctrl+Z 撤销，Delete 清除。",
    reading: "识别结果",
    digitsRead: "识别出的数字",
    probabilities: "十个数字的概率",
    seen: "网络看到的图像，28 乘 28 像素",
    seenCaption: "网络看到的图像，28 × 28",
    maps: "第一层的激活图",
    mapsCaption: "第一层从中得到的激活图",
    nothing: "还没有写任何内容",
    none: "这里没有数字",
    digit: (digit, sure, confidence) => `${digit}${sure ? "" : "，不确定"}，${percent(confidence)}`,
    unsure: "不确定",
    bar: (digit, share) => `${digit}：${percent(share)}`,
    announced: (text, unsure) => `读作 ${text.split("").join(" ")}${unsure ? "，不确定" : ""}`,
    about: (ms, network, version) => `用时 ${ms} 毫秒，网络 ${network}，版本 ${version}`,
    cleared: "已清除",
    penDown: "落笔",
    penUp: "提笔",
    trouble: {
      unreachable: () => "服务器没有回应，正在重试……",
      busy: () => "服务器正忙，正在重试……",
      late: () => "服务器用时过长，请换一张小一些的图片。",
      large: () => "这张图片太大，服务器不接受。",
      refused: (why) => `无法识别：${why}`,
      notImage: () => "这不是可以识别的图片。",
    },
  },
};

const KEY = "digits.language";
const TAGS = { en: "en", zh: "zh-CN" };
const listeners = [];
let language = remembered() ?? preferred();

function remembered() {
  try {
    const kept = localStorage.getItem(KEY);
    return kept in WORDS ? kept : null;
  } catch {
    return null;
  }
}

function preferred() {
  const tags = navigator.languages ?? [navigator.language];
  const known = tags.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in WORDS);
  return known ?? "en";
}

/** The words of the language in use. */
export const words = () => WORDS[language];

export { percent };

/** Calls `listener` whenever the language changes, and now. */
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

function show() {
  document.documentElement.lang = TAGS[language];
  for (const element of document.querySelectorAll("[data-words]")) {
    element.textContent = words()[element.dataset.words];
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", words()[element.dataset.label]);
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
}

onLanguage(show);

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => {
    language = button.dataset.language;
    try {
      localStorage.setItem(KEY, language);
    } catch {
      // Where nothing may be kept, the choice lasts as long as the page.
    }
    for (const listener of listeners) listener();
  });
}
