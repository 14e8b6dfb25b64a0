(function () {
  "use strict";
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var touch = window.matchMedia("(pointer: coarse)").matches;
  var narrow = window.matchMedia("(max-width: 36rem)").matches;

  var whole = document.getElementById("whole");

  function draw(place, which) {
    var target = document.getElementById(place);
    var figure = (figures[place] || [])[which];
    if (!target || !figure) { return; }
    if (place === "forecast") {
      var axis = figure.layout.xaxis;
      axis.closeUp = axis.closeUp || axis.range;
      axis.autorange = !axis.closeUp || Boolean(whole && whole.checked);
      axis.range = axis.autorange ? undefined : axis.closeUp.slice();
    }
    // a finger scrolls the page; it should not be caught by a chart
    figure.layout.dragmode = touch ? false : "zoom";
    if (narrow) {
      figure.layout.height = Math.min(figure.layout.height, Math.max(320, 0.8 * figure.layout.height));
      figure.layout.font.size = 11;
    }
    Plotly.react(target, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }

  Object.keys(figures).forEach(function (place) { draw(place, 0); });

  if (whole) {
    whole.addEventListener("change", function () {
      draw("forecast", chooser ? Number(chooser.value) : 0);
    });
  }

  var chooser = document.getElementById("series");
  if (chooser) {
    chooser.addEventListener("change", function () {
      var which = Number(chooser.value);
      draw("forecast", which);
      draw("backtest", which);
      document.querySelectorAll("details.of-series").forEach(function (details, k) {
        details.hidden = k !== which;
      });
    });
  }

  // a figure that is folded away has no width to be drawn in
  document.querySelectorAll("details.more").forEach(function (details) {
    details.addEventListener("toggle", fit);
  });

  document.querySelectorAll("code.copy").forEach(function (code) {
    if (!navigator.clipboard) { return; }
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = "copy";
    button.setAttribute("aria-label", "Copy " + code.textContent);
    button.addEventListener("click", function () {
      navigator.clipboard.writeText(code.textContent).then(function () {
        button.textContent = "copied";
      });
    });
    code.after(button);
  });

  function fit() {
    document.querySelectorAll(".plot").forEach(function (plot) { Plotly.Plots.resize(plot); });
  }
  window.addEventListener("beforeprint", fit);
  window.addEventListener("afterprint", fit);
}());
