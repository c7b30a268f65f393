// Numbers, times and sizes as text. "–" stands for what is missing.

const NONE = "–";

/** A value of a column in its shown unit: `factor` and `digits` belong to the column. */
export function formatValue(value, column) {
  if (value === null || value === undefined || value === "") return NONE;
  switch (column.kind) {
    case "duration":
      return formatDuration(value);
    case "date":
      return formatDate(value);
    case "size":
      return formatSize(value);
    case "number":
      return column.digits === null ? shortNumber(value) : fixed(value * column.factor, column.digits);
    default:
      return String(value);
  }
}

/** Four significant digits; thousands with commas. */
export function shortNumber(value) {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) return minus(Number(value.toPrecision(3)).toExponential().replace("e+", "e"));
  if (Number.isInteger(value)) return minus(value.toLocaleString("en-US"));
  return minus(Number(value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 6 }));
}

function fixed(value, digits) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return minus(value.toLocaleString("en-US", options));
}

const minus = (text) => text.replace("-", "−");

/** Seconds as 42 s, 3 min 05 s, 2 h 10 min, 3 d 4 h. */
export function formatDuration(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  const total = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  if (total < 60) return `${total} s`;
  if (total < 3600) return `${Math.floor(total / 60)} min ${two(total % 60)} s`;
  const minutes = Math.round(total / 60);
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

/** A time (seconds since 1970) as 2026-11-26 10:04, in the reader's time zone. */
export function formatDate(seconds) {
  const date = new Date(seconds * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

function formatSize(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}
