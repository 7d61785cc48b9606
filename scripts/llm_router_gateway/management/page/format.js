// Values into words: money, counts, durations, times. And foreign text into text that shows what it holds.

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const UNKNOWN = "–";

/** What must never act on the page or hide in it: controls, bidi and zero-width marks, tags, lone surrogates. */
export const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f" +
    "\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}]|\\p{Surrogate}",
  "gu",
);

/** codeName("\u202e") -> "U+202E" */
export function codeName(character) {
  return "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
}

/** For attributes, options and titles, which hold plain text only: "a\u202eb" -> "a⟨U+202E⟩b" */
export function plain(value) {
  return String(value ?? "").replace(UNSEEN, (character) => `⟨${codeName(character)}⟩`);
}

/** The first `limit` characters; what was cut off is said. */
export function shortened(value, limit = 120) {
  const text = String(value ?? "");
  return text.length > limit ? `${text.slice(0, limit)}… (${count(text.length)} characters)` : text;
}

function digits(value, most, least = 0) {
  return value.toLocaleString("en-US", { maximumFractionDigits: most, minimumFractionDigits: least });
}

const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

/** count(1234567) -> "1,234,567" */
export function count(value) {
  return isKnown(value) ? WHOLE.format(value) : UNKNOWN;
}

/** compact(1234567) -> "1.23M"; below ten thousand every digit is there */
export function compact(value) {
  if (!isKnown(value)) return UNKNOWN;
  for (const [size, letter] of [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (Math.abs(value) >= size && Math.abs(value) >= 10000) {
      const scaled = value / size;
      return digits(scaled, scaled < 10 ? 2 : scaled < 100 ? 1 : 0) + letter;
    }
  }
  return digits(value, Number.isInteger(value) ? 0 : 2);
}

/** money(0.00042) -> "$0.00042"; money(12.5) -> "$12.50"; money(0) -> "$0" */
export function money(value) {
  if (!isKnown(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size === 0) return "$0";
  if (size >= 100000) return "$" + compact(value);
  if (size >= 1) return "$" + digits(value, 2, 2);
  if (size < 1e-9) return "< $0.000000001";
  const places = Math.min(12, 2 - Math.floor(Math.log10(size)));
  return "$" + digits(value, Math.max(2, places), 2);
}

/** milliseconds(1234) -> "1.23 s"; milliseconds(8.3) -> "8.3 ms" */
export function milliseconds(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value < 10) return digits(value, 1) + " ms";
  if (value < 1000) return digits(value, 0) + " ms";
  if (value < 10000) return digits(value / 1000, 2) + " s";
  if (value < 60000) return digits(value / 1000, 1) + " s";
  return seconds(value / 1000);
}

/** parts(125, 60, "min", 1, "s") -> "2 min 5 s"; the smaller part only where there is one */
function parts(value, size, unit, less, lessUnit) {
  const rounded = Math.round(value / less) * less,
    rest = Math.round((rounded % size) / less);
  return `${Math.floor(rounded / size)} ${unit}${rest ? ` ${rest} ${lessUnit}` : ""}`;
}

/** seconds(125) -> "2 min 5 s" */
export function seconds(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value < 60) return digits(value, value < 10 ? 1 : 0) + " s";
  if (value < 3600) return parts(value, 60, "min", 1, "s");
  if (value < 86400) return parts(value, 3600, "h", 60, "min");
  return parts(value, 86400, "d", 3600, "h");
}

/** percent(0.0123) -> "1.23%" */
export function percent(value) {
  if (!isKnown(value)) return UNKNOWN;
  const scaled = value * 100;
  return digits(scaled, scaled !== 0 && Math.abs(scaled) < 10 ? 2 : 1) + "%";
}

/** bytes(1536) -> "1.5 KiB" */
export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  let size = value;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024 || unit === "GiB") return `${digits(size, size < 10 && unit !== "B" ? 1 : 0)} ${unit}`;
    size /= 1024;
  }
  return UNKNOWN;
}

const two = (value) => String(value).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** In this browser's own time zone: "10:05" */
export const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;
export const clockSeconds = (date) => `${clock(date)}:${two(date.getSeconds())}`;
/** "Nov 21" */
export const day = (date) => `${MONTHS[date.getMonth()]} ${date.getDate()}`;
/** "2026-11-21 10:05:09" */
export function stamp(date) {
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clockSeconds(date)}`;
}
/** "2026-11-21 09:05:09 UTC" */
export function utc(date) {
  return date.toISOString().slice(0, 19).replace("T", " ") + " UTC";
}

/** A moment as people near it say it: "10:05:09" today, else "Nov 20, 10:05". */
export function moment(text, now = new Date()) {
  const date = new Date(text);
  if (!text || Number.isNaN(date.getTime())) return UNKNOWN;
  if (date.toDateString() === now.toDateString()) return clockSeconds(date);
  const year = date.getFullYear() === now.getFullYear() ? "" : ` ${date.getFullYear()}`;
  return `${day(date)}${year}, ${clock(date)}`;
}

/** Both times of a moment, for a title. */
export function bothTimes(text) {
  const date = new Date(text);
  return !text || Number.isNaN(date.getTime()) ? "" : `${stamp(date)} here, ${utc(date)}`;
}

/** ago("...", now) -> "3 min ago" */
export function ago(text, now = new Date()) {
  const past = (now - new Date(text)) / 1000;
  if (!text || Number.isNaN(past)) return "never";
  if (past < 5) return "just now";
  if (past < 60) return `${Math.round(past)} s ago`;
  if (past < 3600) return `${Math.round(past / 60)} min ago`;
  if (past < 86400) return `${Math.round(past / 3600)} h ago`;
  return `${Math.round(past / 86400)} d ago`;
}

/** perMillion(0.25) -> "$0.25": a price of a million tokens */
export const perMillion = (value) => (isKnown(value) ? money(value) : UNKNOWN);
