// Draws lines over time: one figure or a few with a common scale. It knows nothing of what they mean.

import { fromTemplate, setAttribute, setText } from "./dom.js";

const HEIGHT = 100;

export class Chart {
  // `lines`: [{name, kind}], `format` writes a figure of the scale; `least` is the smallest top of the scale.
  constructor(parent, { title, lines, format, least = 1 }) {
    this.element = fromTemplate("chart-parts");
    this.format = format;
    this.least = least;
    this.lines = lines;
    this.title = title;
    this.svg = this.element.querySelector("svg");
    this.paths = lines.map(({ kind }) => this.addPath(`curve ${kind}`));
    this.area = lines.length === 1 ? this.addPath(`area ${lines[0].kind}`) : null;
    this.cross = this.addPath("cross");
    parent.append(this.element);
  }

  addPath(kind) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", kind);
    this.svg.append(path);
    return path;
  }

  // `figures`: for each line an array, null where a figure is not known.
  show(figures) {
    this.figures = figures;
    const length = figures[0].length;
    const known = figures.flat().filter((figure) => figure !== null);
    const top = roundUp(Math.max(this.least, ...known));
    setAttribute(this.svg, "viewBox", `0 0 ${Math.max(1, length - 1)} ${HEIGHT}`);
    setAttribute(this.element.querySelector(".grid"), "d", grid(length));
    figures.forEach((line, index) => setAttribute(this.paths[index], "d", drawLine(line, top)));
    if (this.area) setAttribute(this.area, "d", drawArea(figures[0], top));
    setText(this.element.querySelector(".top"), known.length ? this.format(top) : "");
    setText(this.element.querySelector(".half"), known.length && top > 1 ? this.format(top / 2) : "");
    this.element.querySelector(".quiet").hidden = known.length > 0;
    setAttribute(this.svg, "aria-label", this.describe(known));
  }

  describe(known) {
    if (known.length === 0) return `${this.title}, no figures yet`;
    const spans = this.lines.map(({ name }, index) => {
      const figures = this.figures[index].filter((figure) => figure !== null);
      if (figures.length === 0) return `${name} unknown`;
      return `${name} from ${this.format(Math.min(...figures))} to ${this.format(Math.max(...figures))}, now ${this.format(figures.at(-1))}`;
    });
    return `${this.title}: ${spans.join("; ")}`;
  }

  // Marks a place; null: none.
  point(index) {
    setAttribute(this.cross, "d", index === null ? "" : `M${index} 0V${HEIGHT}`);
  }

  at(index) {
    return this.lines.map(({ name }, line) => {
      const figure = this.figures?.[line][index] ?? null;
      return `${name} ${figure === null ? "unknown" : this.format(figure)}`;
    });
  }
}

// The figures as a path, with a hole where they are not known.
function drawLine(figures, top) {
  let path = "";
  figures.forEach((figure, index) => {
    if (figure === null) return;
    const begins = index === 0 || figures[index - 1] === null;
    path += `${begins ? "M" : "L"}${index} ${height(figure, top)}`;
    if (begins && (figures[index + 1] ?? null) === null) path += "h0.01"; // a point alone
  });
  return path;
}

function drawArea(figures, top) {
  let path = "";
  figures.forEach((figure, index) => {
    if (figure === null) return;
    path += index === 0 || figures[index - 1] === null ? `M${index} ${HEIGHT}V${height(figure, top)}` : `L${index} ${height(figure, top)}`;
    if ((figures[index + 1] ?? null) === null) path += `V${HEIGHT}Z`;
  });
  return path;
}

function height(figure, top) {
  return (HEIGHT * (1 - figure / top)).toFixed(2);
}

function grid(length) {
  const columns = [1, 2, 3, 4].map((part) => `M${((part * (length - 1)) / 5).toFixed(2)} 0V${HEIGHT}`);
  return `M0 0H${length - 1}M0 ${HEIGHT / 2}H${length - 1}M0 ${HEIGHT}H${length - 1}${columns.join("")}`;
}

function roundUp(figure) {
  const power = 10 ** Math.floor(Math.log10(figure));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= figure * 0.999999) * power;
}
