/** The colours of the screen, by the name of the theme. Knows nothing of who chose it. */

// Programs like VisiData are drawn for dark screens: white on black, bars in dark greys. On a light screen the whole
// palette is therefore turned over in lightness, hue for hue, so that "white on black" reads as ink on paper.
const DARK = {
  background: "#121417", foreground: "#d8dce0", cursor: "#2dd4bf", cursorAccent: "#121417",
  selectionBackground: "#2b5f5a", selectionInactiveBackground: "#2a3a3c",
  black: "#121417", red: "#f07178", green: "#8fce72", yellow: "#e6c06a",
  blue: "#6cb2f5", magenta: "#d09bf0", cyan: "#5fd0d3", white: "#d8dce0",
  brightBlack: "#7a848e", brightRed: "#ff8f94", brightGreen: "#aee890", brightYellow: "#ffdb8a",
  brightBlue: "#93caff", brightMagenta: "#e3b8ff", brightCyan: "#86ecee", brightWhite: "#ffffff",
};
const LIGHT = {
  background: "#fdfdfb", foreground: "#24292e", cursor: "#0f766e", cursorAccent: "#fdfdfb",
  selectionBackground: "#b5e3dd", selectionInactiveBackground: "#dcebe9",
  black: "#fdfdfb", red: "#b3262d", green: "#2c7a1f", yellow: "#8a5a00",
  blue: "#1259b0", magenta: "#8033ab", cyan: "#0b6e75", white: "#24292e",
  brightBlack: "#6a737c", brightRed: "#96141b", brightGreen: "#1d6112", brightYellow: "#6e4700",
  brightBlue: "#0a468f", brightMagenta: "#672490", brightCyan: "#07575d", brightWhite: "#000000",
  extendedAnsi: extendedColours().map(turnOver),
};
// For people who see little: pure black and white, and no colour that is dim.
const CONTRAST = {
  background: "#000000", foreground: "#ffffff", cursor: "#ffff00", cursorAccent: "#000000",
  selectionBackground: "#ffff00", selectionForeground: "#000000", selectionInactiveBackground: "#808000",
  black: "#000000", red: "#ff8080", green: "#80ff80", yellow: "#ffff66",
  blue: "#99ccff", magenta: "#ffa0ff", cyan: "#66ffff", white: "#ffffff",
  brightBlack: "#c8c8c8", brightRed: "#ffa0a0", brightGreen: "#a0ffa0", brightYellow: "#ffff99",
  brightBlue: "#bbddff", brightMagenta: "#ffc0ff", brightCyan: "#a0ffff", brightWhite: "#ffffff",
};

const THEMES = { light: LIGHT, dark: DARK, contrast: CONTRAST };

// WCAG 2.2: 3 for large text and for what is not text, 7 for AAA. Between them, VisiData's dim greys stay dim.
const RATIOS = { light: 3, dark: 3, contrast: 7 };

/** xterm.js's `theme` and `minimumContrastRatio` for `light`, `dark` or `contrast`. */
export function coloursOf(theme) {
  return { theme: THEMES[theme], minimumContrastRatio: RATIOS[theme] };
}

/** The colours 16 to 255 of xterm: a cube of 6×6×6, then 24 greys. */
function extendedColours() {
  const levels = [0, 95, 135, 175, 215, 255];
  const cube = Array.from({ length: 216 }, (_, i) => [levels[Math.floor(i / 36)], levels[Math.floor(i / 6) % 6], levels[i % 6]]);
  const greys = Array.from({ length: 24 }, (_, i) => Array(3).fill(8 + 10 * i));
  return [...cube, ...greys];
}

/** The same hue and saturation with the opposite lightness, as #rrggbb. */
function turnOver([red, green, blue]) {
  const sum = Math.max(red, green, blue) + Math.min(red, green, blue);
  return "#" + [red, green, blue].map((part) => (part + 255 - sum).toString(16).padStart(2, "0")).join("");
}
