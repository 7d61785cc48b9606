// Charts as SVG: stacked bars and lines over time, with axes people can read, a tooltip under mouse, finger and keyboard,
// and the same figures as a table.
import { clock, day, stamp, utc } from "./format.js";
import { announce, h, heading, refill, svg, table } from "./dom.js";

const LEFT = 58,
  RIGHT = 12,
  TOP = 12,
  BOTTOM = 26; // px around the plot
const DAY_S = 86400;
const STEPS_S = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 604800, 1209600];
const TOOLTIP_ROWS = 9;
export const COLOURS = 8; // .c0 to .c7 in style.css; .c-other for the rest

/** ticks(7.3, 4) -> [0, 2, 4, 6, 8]: round numbers from 0 to at least `most` */
export function ticks(most, wanted = 4, whole = false) {
  if (!(most > 0)) return [0, 1];
  const rough = most / wanted,
    power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough * 0.999) * power;
  if (whole) step = Math.max(1, Math.ceil(step));
  const found = [];
  for (let each = 0; each < most + step * 0.999; each += step) found.push(Number(each.toPrecision(12)));
  return found;
}

/** Moments for the time axis, at round times of this browser's clock. */
export function timeTicks(from, to, most) {
  const step = STEPS_S.find((each) => (to - from) / 1000 / each <= most) ?? STEPS_S.at(-1);
  const at = new Date(from);
  at.setHours(0, 0, 0, 0);
  const found = [];
  while (at.getTime() < to) {
    if (at.getTime() >= from) found.push(new Date(at));
    if (step >= DAY_S) at.setDate(at.getDate() + step / DAY_S);
    else at.setTime(at.getTime() + step * 1000);
  }
  return { step, found };
}

function tickText(date, step) {
  const isMidnight = date.getHours() === 0 && date.getMinutes() === 0;
  return step >= DAY_S || isMidnight ? day(date) : clock(date);
}

/** "Nov 21, 10:05–10:06" */
function span(from, step_s) {
  const a = new Date(from),
    b = new Date(from + step_s * 1000);
  if (step_s >= DAY_S) return `${day(a)}, ${clock(a)} to ${day(b)}, ${clock(b)}`;
  return `${day(a)}, ${clock(a)}–${clock(b)}`;
}

/** A small line without axes, for a tile. */
export function sparkline(values) {
  const width = 120,
    height = 28;
  const known = values.filter((value) => value !== null);
  const top = Math.max(...known, 0) || 1;
  const x = (index) => (values.length < 2 ? width : (index / (values.length - 1)) * width);
  const y = (value) => height - 2 - (value / top) * (height - 5);
  const path = linePath(values, x, y);
  const area = known.length > 1 && known.length === values.length ? `${path}L${width} ${height}L0 ${height}Z` : "";
  return svg(
    "svg",
    {
      class: "spark",
      viewBox: `0 0 ${width} ${height}`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      focusable: "false",
    },
    area ? svg("path", { class: "spark-area", d: area }) : null,
    path ? svg("path", { class: "spark-line", d: path }) : null,
  );
}

/** A path through the known values; unknown ones leave a gap. */
function linePath(values, x, y) {
  let path = "",
    isDown = false;
  values.forEach((value, index) => {
    if (value === null) {
      isDown = false;
      return;
    }
    path += `${isDown ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    isDown = true;
  });
  return path;
}

/** One chart: `show({times, step_s, series: [{name, colour, values}]})` draws it, and again when its width changes. */
export class Chart {
  constructor({ label, kind, format, whole = false, height = 250, total = false, stepName = "Time" }) {
    Object.assign(this, { label, kind, format, whole, height, total, stepName, data: null, at: null, width: 0 });
    this.drawing = svg("svg", { "aria-hidden": "true", focusable: "false" });
    this.tip = h("div", { class: "tip", hidden: true });
    this.plot = h(
      "div",
      {
        class: "plot",
        tabindex: "0",
        role: "group",
        "aria-roledescription": "chart",
        "aria-label": label,
        "data-key": `plot:${label}`,
      },
      this.drawing,
      this.tip,
    );
    this.legend = h("ul", { class: "legend" });
    this.rows = h("div", {});
    this.details = h("details", { class: "as-table" }, h("summary", {}, "Show as a table"), this.rows);
    this.node = h("div", { class: "chart" }, this.legend, this.plot, this.details);
    this.details.addEventListener("toggle", () => this.fillTable());
    this.listen();
    new ResizeObserver(() => this.resized()).observe(this.plot);
  }

  listen() {
    const { plot } = this;
    plot.addEventListener("pointermove", (event) => this.point(this.indexAt(event.clientX)));
    plot.addEventListener("pointerdown", (event) => this.point(this.indexAt(event.clientX)));
    plot.addEventListener("pointerleave", () => this.point(null));
    plot.addEventListener("blur", () => this.point(null));
    plot.addEventListener("keydown", (event) => this.pressed(event));
  }

  pressed(event) {
    const last = (this.data?.times.length ?? 0) - 1;
    if (last < 0) return;
    const now = this.at ?? last + (event.key === "ArrowLeft" ? 1 : 0);
    const next = { ArrowLeft: now - 1, ArrowRight: this.at === null ? 0 : now + 1, Home: 0, End: last, Escape: null }[
      event.key
    ];
    if (next === undefined) return;
    event.preventDefault();
    if (next === null) event.stopPropagation();
    this.point(next === null ? null : Math.min(last, Math.max(0, next)));
    if (this.at !== null) announce(this.sentence(this.at));
  }

  /** Series with nothing to draw in this time are left out: of bars all zero, of lines without a point. */
  show(data) {
    const isDrawn = (value) => value !== null && (this.kind === "lines" || value !== 0);
    const isSingle = data.series.length === 1;
    data = { ...data, series: data.series.filter((line) => isSingle || line.values.some(isDrawn)), isSingle };
    this.data = data;
    const sums = data.series.map((line) => line.values.reduce((sum, value) => sum + (value ?? 0), 0));
    this.plot.setAttribute("aria-label", `${this.label}. ${data.times.length} points in time; the arrow keys read them.`);
    refill(
      this.legend,
      !data.isSingle
        ? data.series.map((line, index) =>
            h(
              "li",
              {},
              h("span", { class: `swatch ${line.colour}`, "aria-hidden": "true" }),
              h("bdi", { class: "foreign" }, line.name),
              this.kind === "bars" ? h("span", { class: "muted" }, this.format(sums[index])) : null,
            ),
          )
        : [],
    );
    this.legend.hidden = !this.legend.childElementCount;
    this.draw();
    if (this.details.open) this.fillTable();
  }

  resized() {
    const width = Math.floor(this.plot.clientWidth);
    if (width === this.width || !width) return;
    this.width = width;
    this.draw();
  }

  most() {
    const { series, times } = this.data;
    if (this.kind === "lines") return Math.max(0, ...series.flatMap((line) => line.values.filter((value) => value !== null)));
    return times.reduce(
      (most, _, index) =>
        Math.max(
          most,
          series.reduce((sum, line) => sum + (line.values[index] ?? 0), 0),
        ),
      0,
    );
  }

  draw() {
    if (!this.data || !this.width) return;
    const { times, step_s } = this.data,
      { width, height } = this;
    const from = times[0] ?? 0,
      to = (times.at(-1) ?? 0) + step_s * 1000;
    const marks = ticks(this.most(), 4, this.whole),
      top = marks.at(-1);
    this.x = (at) => LEFT + ((at - from) / (to - from || 1)) * (width - LEFT - RIGHT);
    this.y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM);
    this.cursor = svg("rect", { class: "cursor", y: TOP, height: height - TOP - BOTTOM, visibility: "hidden" });
    this.dots = svg("g", {});
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.drawing.setAttribute("width", width);
    this.drawing.setAttribute("height", height);
    this.drawing.replaceChildren(this.yAxis(marks), this.xAxis(from, to), this.cursor, ...this.marks(), this.dots);
    if (this.at !== null) this.point(Math.min(this.at, times.length - 1));
  }

  yAxis(marks) {
    return svg(
      "g",
      { class: "axis" },
      marks.map((value) => [
        svg("line", { class: value ? "grid" : "base", x1: LEFT, x2: this.width - RIGHT, y1: this.y(value), y2: this.y(value) }),
        svg("text", { x: LEFT - 8, y: this.y(value) + 4, "text-anchor": "end" }, this.format(value)),
      ]),
    );
  }

  xAxis(from, to) {
    const { step, found } = timeTicks(from, to, Math.max(2, (this.width - LEFT - RIGHT) / 60));
    const base = this.height - BOTTOM;
    return svg(
      "g",
      { class: "axis" },
      found.map((date) => {
        const x = this.x(date.getTime());
        return [
          svg("line", { class: "base", x1: x, x2: x, y1: base, y2: base + 4 }),
          x < LEFT + 16 || x > this.width - 24
            ? null
            : svg("text", { x, y: base + 17, "text-anchor": "middle" }, tickText(date, step)),
        ];
      }),
    );
  }

  marks() {
    return this.kind === "bars" ? this.bars() : this.lines();
  }

  /** One path per series: 30 days by the hour are thousands of bars. */
  bars() {
    const { times, step_s, series } = this.data,
      below = times.map(() => 0);
    const whole = this.x(step_s * 1000) - this.x(0),
      gap = whole > 10 ? 3 : whole > 4 ? 1 : 0.3,
      wide = Math.max(0.7, Math.min(whole - gap, 46));
    return series.map((line) => {
      let path = "";
      line.values.forEach((value, index) => {
        if (!value) return;
        const x = this.x(times[index]) + (whole - wide) / 2,
          low = this.y(below[index]),
          high = this.y(below[index] + value);
        below[index] += value;
        path += `M${x.toFixed(2)} ${low.toFixed(2)}V${high.toFixed(2)}h${wide.toFixed(2)}V${low.toFixed(2)}Z`;
      });
      return svg("path", { class: `bar ${line.colour}`, d: path });
    });
  }

  lines() {
    const { times, step_s, series } = this.data;
    const x = (index) => this.x(times[index] + step_s * 500);
    return series.flatMap((line) => {
      const alone = line.values
        .map((value, index) => [value, index])
        .filter(
          ([value, index]) =>
            value !== null && (line.values[index - 1] ?? null) === null && (line.values[index + 1] ?? null) === null,
        );
      return [
        svg("path", { class: `line ${line.colour}`, d: linePath(line.values, x, this.y) }),
        ...alone.map(([value, index]) =>
          svg("circle", { class: `dot ${line.colour}`, cx: x(index), cy: this.y(value), r: 2.5 }),
        ),
      ];
    });
  }

  // -- the tooltip

  indexAt(clientX) {
    if (!this.data?.times.length || !this.x) return null;
    const { times, step_s } = this.data,
      whole = this.x(step_s * 1000) - this.x(0);
    const index = Math.floor((clientX - this.plot.getBoundingClientRect().left - this.x(times[0])) / whole);
    return index < 0 || index >= times.length ? null : index;
  }

  point(index) {
    this.at = index;
    const { data, cursor } = this;
    this.tip.hidden = index === null;
    if (!data || !cursor) return;
    cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
    this.dots.replaceChildren();
    if (index === null) return;
    const left = this.x(data.times[index]),
      right = this.x(data.times[index] + data.step_s * 1000);
    cursor.setAttribute("x", left);
    cursor.setAttribute("width", Math.max(1, right - left));
    if (this.kind === "lines") {
      for (const line of data.series) {
        if (line.values[index] === null) continue;
        this.dots.append(
          svg("circle", { class: `dot ${line.colour}`, cx: (left + right) / 2, cy: this.y(line.values[index]), r: 4 }),
        );
      }
    }
    refill(this.tip, this.tipContent(index));
    const box = this.tip.offsetWidth,
      middle = (left + right) / 2;
    this.tip.style.setProperty(
      "left",
      `${Math.round(middle + 14 + box > this.width ? Math.max(0, middle - box - 14) : middle + 14)}px`,
    );
  }

  rowsAt(index) {
    const rows = this.data.series.map((line) => ({ ...line, value: line.values[index] }));
    return this.kind === "bars"
      ? rows.filter((row) => row.value).sort((a, b) => b.value - a.value)
      : rows.filter((row) => row.value !== null);
  }

  tipContent(index) {
    const { times, step_s } = this.data,
      rows = this.rowsAt(index),
      sum = rows.reduce((all, row) => all + row.value, 0);
    return [
      h(
        "p",
        { class: "tip-time" },
        span(times[index], step_s),
        h("span", { class: "muted" }, utc(new Date(times[index])).slice(0, 16) + " UTC"),
      ),
      rows.length ? null : h("p", { class: "muted" }, "no calls"),
      h(
        "dl",
        {},
        rows
          .slice(0, TOOLTIP_ROWS)
          .map((row) =>
            h(
              "div",
              {},
              h("dt", {}, h("span", { class: `swatch ${row.colour}` }), h("bdi", { class: "foreign" }, row.name)),
              h("dd", {}, this.format(row.value)),
            ),
          ),
        this.total && rows.length > 1 ? h("div", { class: "sum" }, h("dt", {}, "Total"), h("dd", {}, this.format(sum))) : null,
      ),
    ];
  }

  sentence(index) {
    const rows = this.rowsAt(index);
    const words = rows.map((row) => `${row.name} ${this.format(row.value)}`).join(", ");
    return `${span(this.data.times[index], this.data.step_s)}: ${words || "no calls"}`;
  }

  fillTable() {
    if (!this.details.open || !this.data) return;
    const { times, series } = this.data;
    const rows = times
      .map((at, index) =>
        h(
          "tr",
          {},
          h("th", { scope: "row", title: utc(new Date(at)) }, stamp(new Date(at)).slice(0, 16)),
          series.map((line) => h("td", { class: "number" }, this.format(line.values[index]))),
        ),
      )
      .reverse();
    refill(
      this.rows,
      table(
        this.label,
        [
          heading(this.stepName),
          series.map((line) => h("th", { scope: "col", class: "number" }, h("bdi", { class: "foreign" }, line.name))),
        ],
        rows,
        { frame: "short" },
      ),
    );
  }
}
