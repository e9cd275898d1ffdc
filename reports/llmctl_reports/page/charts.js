// Draws the charts of a report from the data that the page carries. Where this fails the static pictures stay.
(() => {
  "use strict";
  const { words, charts } = JSON.parse(document.getElementById("charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const HEIGHT = 340;
  const live = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const shown = (u, value) => (value == null ? "–" : Number(value.toPrecision(6)).toString());

  const look = {
    line: { width: 1.8, alpha: 1 },
    raw: { width: 0.7, alpha: 0.4 },
    smooth: { width: 2.2, alpha: 1 },
  };

  function series(curve) {
    // The reference is a broad band below the run, so that it shows where both are the same.
    const broad = curve.kind === "line" && curve.side === "reference";
    return {
      label: curve.name,
      stroke: () => colour(curve.side),
      width: broad ? 4 : look[curve.kind].width,
      alpha: broad ? 0.5 : look[curve.kind].alpha,
      points: { show: curve.x.length < 3 ? true : undefined, size: 6 },
      value: shown,
    };
  }

  function band(limit) {
    return (u) => {
      const { left, top, width, height } = u.bbox;
      const high = Math.max(top, u.valToPos(limit, "y", true));
      const low = Math.min(top + height, u.valToPos(-limit, "y", true));
      u.ctx.save();
      u.ctx.fillStyle = colour("band");
      u.ctx.fillRect(left, high, width, low - high);
      u.ctx.strokeStyle = colour("quiet");
      u.ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
      u.ctx.strokeRect(left, high, width, low - high);
      u.ctx.restore();
    };
  }

  function symmetric(limit) {
    return (u, low, high) => {
      const reach = 1.1 * Math.max(Math.abs(low), Math.abs(high)) || limit;
      return [-reach, reach];
    };
  }

  function roomy(u, axis, low, high) {
    return Math.max(50, 9 * Math.round(high).toLocaleString("en").length);
  }

  function options(chart, width, logarithmic) {
    const axis = { stroke: () => colour("quiet"), grid: { stroke: () => colour("rule") }, ticks: { stroke: () => colour("rule") } };
    const y = chart.band ? { range: symmetric(chart.band) } : logarithmic ? { distr: 3 } : {};
    return {
      width,
      height: HEIGHT,
      padding: [null, 32, null, null],
      scales: { x: { time: false }, y },
      axes: [{ ...axis, label: chart.x, space: roomy }, { ...axis, label: chart.y, size: 70 }],
      series: [{ label: chart.x }, ...chart.curves.map(series)],
      cursor: { sync: { key: "llmctl", scales: ["x", null] }, drag: { x: true, y: false } },
      hooks: chart.band ? { drawClear: [band(chart.band)] } : {},
    };
  }

  function draw(figure, chart) {
    const place = figure.querySelector(".live");
    const bar = place.appendChild(document.createElement("div"));
    bar.className = "bar";
    const box = place.appendChild(document.createElement("div"));
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", figure.querySelector("svg").getAttribute("aria-label"));
    figure.classList.add("drawn");
    const tables = chart.curves.map((curve) => [curve.x, curve.y]);
    const data = tables.length > 1 ? uPlot.join(tables) : tables[0];
    let plot;
    const make = (logarithmic) => {
      if (plot) plot.destroy();
      plot = new uPlot(options(chart, figure.clientWidth, logarithmic), data, box);
    };
    if (chart.curves.every((curve) => curve.y.every((value) => value > 0))) {
      const label = bar.appendChild(document.createElement("label"));
      const check = label.appendChild(document.createElement("input"));
      check.type = "checkbox";
      label.append(words.log_axis);
      check.addEventListener("change", () => make(check.checked));
    }
    const button = bar.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = words.reset;
    make(false);
    const one = {
      redraw: () => plot.redraw(),
      fit: () => plot.setSize({ width: figure.clientWidth, height: HEIGHT }),
      reset: () => plot.setData(data),
    };
    button.addEventListener("click", () => live.forEach((each) => each.reset()));
    live.push(one);
  }

  for (const chart of charts) {
    const figure = document.getElementById(`chart-${chart.name}`);
    try {
      draw(figure, chart);
    } catch (error) {
      figure.classList.remove("drawn");
      console.error(error);
    }
  }
  dark.addEventListener("change", () => live.forEach((each) => each.redraw()));
  addEventListener("resize", () => live.forEach((each) => each.fit()));
})();
