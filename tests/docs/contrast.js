// Return the texts whose contrast with what lies behind them is below WCAG's AA: 4.5, and 3 for large text.
() => {
  const number = (colour) => {
    const found = colour.match(/[\d.]+/g).map(Number);
    return found.length === 4 ? found : [...found, 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const linear = (level) => (level / 255 <= 0.04045 ? level / 255 / 12.92 : ((level / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const behind = new Map();
  const backdrop = (element) => {
    if (!element) return [255, 255, 255, 1];
    if (!behind.has(element)) {
      const own = number(getComputedStyle(element).backgroundColor);
      behind.set(element, own[3] === 1 ? own : over(own, backdrop(element.parentElement)));
    }
    return behind.get(element);
  };
  const pale = new Map();
  const judged = (element, colour, style, text) => {
    const below = backdrop(element);
    const [a, b] = [luminance(over(number(colour), below)), luminance(below)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast >= (large ? 3 : 4.5)) return;
    const where = `${element.tagName.toLowerCase()}.${element.className}`;
    pale.set(`${where} ${colour} ${below}`, `${contrast.toFixed(2)} ${where} ${colour} on ${below}: ${text.slice(0, 40)}`);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || element.closest("script, style, svg, noscript") || !element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    judged(element, style.color, style, text);
  }
  for (const field of document.querySelectorAll("input[placeholder]")) {
    const style = getComputedStyle(field, "::placeholder");
    judged(field, style.color, style, field.placeholder);
  }
  return [...pale.values()];
}
