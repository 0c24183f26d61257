"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const darkQuery = matchMedia("(prefers-color-scheme: dark)");
  const printQuery = matchMedia("print");
  let printing = printQuery.matches;
  const isDark = () => darkQuery.matches && !printing;

  // The plotting library is text until it is needed, so that the page opens at once.
  const library = () => {
    if (!window.Plotly) {
      const script = document.createElement("script");
      script.textContent = document.getElementById("plotly").textContent;
      document.head.append(script);
    }
    return window.Plotly;
  };
  addEventListener("load", () => (window.requestIdleCallback || setTimeout)(library));

  // Plots: drawn when they come into view, drawn again when the page turns dark or light.
  const swap = (value) => {
    if (typeof value === "string") {
      const partner = data.dark[value.slice(0, 7)];
      return partner && /^#[0-9a-f]{6}([0-9a-f]{2})?$/.test(value) ? partner + value.slice(7) : value;
    }
    if (Array.isArray(value)) return value.every((part) => typeof part === "number") ? value : value.map(swap);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, swap(part)]));
    }
    return value;
  };
  const config = { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const drawn = new Set();
  const draw = (place) => {
    const plain = data.figures[place.dataset.figure];
    const shown = isDark() ? swap(plain) : structuredClone(plain);
    const width = place.clientWidth;
    if (width < 520) {
      shown.layout.font.size = 11.5;
      shown.layout.margin = { ...shown.layout.margin, l: Math.min(shown.layout.margin.l, 44) };
    }
    if (printing) shown.layout.width = width;
    drawn.add(place);
    return library().react(place, shown.data, shown.layout, { ...config, responsive: !printing, displayModeBar: width < 520 || printing ? false : "hover" });
  };
  const redraw = () => drawn.forEach((place) => { if (place.offsetParent !== null) draw(place); else { Plotly.purge(place); drawn.delete(place); watch.observe(place); } });
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { watch.unobserve(entry.target); draw(entry.target); }
    }
  }, { rootMargin: "200px" });
  all(".plot").forEach((place) => watch.observe(place));
  darkQuery.addEventListener("change", () => { redraw(); if (viewer && viewer.open) show(current); });

  // Paper: everything is shown, white, and as wide as the sheet.
  const toPaper = (on) => {
    if (printing === on && on) { all(".plot").forEach(draw); return; }
    printing = on;
    all("details").forEach((part) => {
      if (on) { part.dataset.open = part.open; part.open = true; } else part.open = part.dataset.open === "true";
    });
    if (on) all(".plot").forEach(draw); else all(".plot").forEach((place) => { if (place.offsetParent !== null) draw(place); });
  };
  addEventListener("beforeprint", () => toPaper(true));
  addEventListener("afterprint", () => toPaper(false));
  printQuery.addEventListener("change", (event) => toPaper(event.matches));

  // Tabs.
  const tabs = all('[role="tab"]');
  const choose = (tab, { focus = false, keep = true } = {}) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", chosen);
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).classList.toggle("hidden", !chosen);
    }
    if (focus) tab.focus();
    const list = tab.parentElement;
    list.scrollLeft = tab.offsetLeft - (list.clientWidth - tab.offsetWidth) / 2;
    if (keep) history.replaceState(null, "", "#" + tab.getAttribute("aria-controls"));
    if (!printing) {
      const bar = one(".tabs");
      if (bar.getBoundingClientRect().top <= 0) scrollTo(0, one("main").offsetTop - bar.offsetHeight);
    }
    drawn.forEach((place) => { if (place.offsetParent !== null) Plotly.Plots.resize(place); });
  };
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(tabs[(to + tabs.length) % tabs.length], { focus: true });
    });
  });
  const ofAddress = () => tabs.find((tab) => "#" + tab.getAttribute("aria-controls") === location.hash);
  if (ofAddress()) choose(ofAddress(), { keep: false });
  addEventListener("hashchange", () => { if (ofAddress()) choose(ofAddress(), { keep: false }); });
  all("a[data-open]").forEach((link) => link.addEventListener("click", () => { document.getElementById(link.dataset.open).open = true; }));

  // Explanations of metrics, on hover and focus.
  const tip = document.getElementById("tip");
  const explain = (target) => {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(at.left, innerWidth - tip.offsetWidth - 8)) + "px";
    const below = at.bottom + 8;
    tip.style.top = (below + tip.offsetHeight > innerHeight ? at.top - tip.offsetHeight - 8 : below) + "px";
    target.setAttribute("aria-describedby", "tip");
  };
  const hush = () => { tip.hidden = true; };
  all("[data-tip]").forEach((target) => {
    target.addEventListener("mouseenter", () => explain(target));
    target.addEventListener("focus", () => explain(target));
    target.addEventListener("mouseleave", hush);
    target.addEventListener("blur", hush);
  });
  addEventListener("scroll", hush, { passive: true });
  addEventListener("keydown", (event) => { if (event.key === "Escape") hush(); });

  // Gallery.
  // Tables that their headings sort: first downwards for numbers, upwards for words; what is absent stays last.
  all("table.sortable").forEach((table) => all("thead button", table).forEach((button, column) => {
    button.addEventListener("click", () => {
      const key = (row) => { const cell = row.cells[column]; const text = "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim(); return text === "" || text === "–" ? null : isNaN(text) ? text : Number(text); };
      const rows = all("tbody tr", table);
      const numeric = rows.some((row) => typeof key(row) === "number");
      const before = button.parentElement.getAttribute("aria-sort");
      const up = before === "none" ? !numeric : before === "descending";
      all("thead th", table).forEach((head) => head.setAttribute("aria-sort", "none"));
      button.parentElement.setAttribute("aria-sort", up ? "ascending" : "descending");
      const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
      rows.sort((one, other) => { const [a, b] = [key(one), key(other)]; return a === null ? (b === null ? 0 : 1) : b === null ? -1 : up ? compare(a, b) : compare(b, a); });
      table.tBodies[0].append(...rows);
    });
  }));

  const cards = all(".card");
  const viewer = document.getElementById("viewer");
  let current = 0;
  if (!cards.length) return;
  const structures = data.structures;
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const filter = document.getElementById("show");
  const ofRun = document.getElementById("of-run");
  const fits = (item) => {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const elements = item.scene ? [...new Set(item.scene.z)].map((z) => data.elements[z].symbol.toLowerCase()) : [];
    const said = words.every((word) => item.formula.toLowerCase().includes(word) || item.id.toLowerCase().includes(word) || elements.includes(word) || item.group.toLowerCase().includes(word));
    const wanted = filter.value === "" || item.flags.includes(filter.value);
    return said && wanted && (!ofRun || ofRun.value === "" || item.run === ofRun.value);
  };
  let order = cards.map((_, place) => place);
  const arrange = () => {
    const [name, direction] = sort.value.split(":");
    const key = (place) => structures[place].keys[name];
    order = cards.map((_, place) => place).sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === y) return a - b;
      if (x === null || x === undefined) return 1;
      if (y === null || y === undefined) return -1;
      return (x < y ? -1 : 1) * (direction === "down" ? -1 : 1);
    });
    const shown = order.filter((place) => fits(structures[place]));
    const kept = new Set(shown);
    const list = document.getElementById("cards");
    for (const place of order) {
      cards[place].hidden = !kept.has(place);
      list.append(cards[place]);
    }
    order = shown;
    document.getElementById("n-shown").textContent = `${shown.length} of ${cards.length} shown`;
    document.getElementById("none-shown").hidden = shown.length > 0;
  };
  [search, sort, filter, ofRun].forEach((control) => control && control.addEventListener("input", arrange));
  arrange();

  // The CIF of a structure: saved as a file, or copied as text.
  const addressOf = (item) => URL.createObjectURL(new Blob([item.cif], { type: "chemical/x-cif" }));
  const save = (item) => {
    const link = document.createElement("a");
    link.href = addressOf(item);
    link.download = item.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const copySelected = (text, near) => { // where a browser keeps the clipboard from pages that were opened from a file
    const field = document.createElement("textarea");
    field.value = text;
    near.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  };
  const copy = async (item, button) => {
    let done = true;
    try { await navigator.clipboard.writeText(item.cif); } catch { done = copySelected(item.cif, button.parentElement); }
    const before = button.dataset.text ||= button.textContent;
    button.textContent = done ? "Copied" : "Cannot copy";
    document.getElementById("copied").textContent = done ? `CIF of ${item.formula} copied` : "The browser does not allow to copy";
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  cards.forEach((card, place) => all("[data-cif]", card).forEach((button) => button.addEventListener("click", () => {
    if (button.dataset.cif === "save") save(structures[place]); else copy(structures[place], button);
  })));
  document.getElementById("copy").addEventListener("click", (event) => copy(structures[current], event.target));

  // One structure in three dimensions: spheres for atoms, lines for bonds and the cell.
  const sphere = (() => {
    const [nu, nv] = [20, 11];
    const points = [], faces = [];
    for (let v = 0; v <= nv; v++) {
      for (let u = 0; u < nu; u++) {
        const [a, b] = [(2 * Math.PI * u) / nu, (Math.PI * v) / nv];
        points.push([Math.sin(b) * Math.cos(a), Math.sin(b) * Math.sin(a), Math.cos(b)]);
      }
    }
    for (let v = 0; v < nv; v++) {
      for (let u = 0; u < nu; u++) {
        const [a, b] = [v * nu + u, v * nu + ((u + 1) % nu)];
        faces.push([a, a + nu, b], [b, a + nu, b + nu]);
      }
    }
    return { points, faces };
  })();
  const lines = (pairs, xyz, colour, width) => {
    const trace = { type: "scatter3d", mode: "lines", x: [], y: [], z: [], line: { color: colour, width }, hoverinfo: "skip" };
    for (const [a, b] of pairs) {
      for (const end of [a, b]) { trace.x.push(xyz[3 * end]); trace.y.push(xyz[3 * end + 1]); trace.z.push(xyz[3 * end + 2]); }
      trace.x.push(null); trace.y.push(null); trace.z.push(null);
    }
    return trace;
  };
  const pairsOf = (flat) => flat.reduce((found, value, place) => { if (place % 2) found[found.length - 1].push(value); else found.push([value]); return found; }, []);
  const solid = ({ z, xyz, bonds, corners }) => {
    const traces = [];
    for (const number of new Set(z)) {
      const element = data.elements[number];
      const mesh = { type: "mesh3d", x: [], y: [], z: [], i: [], j: [], k: [], color: element.colour, name: element.symbol, hovertemplate: element.symbol + "<extra></extra>", flatshading: false,
        lighting: { ambient: 0.42, diffuse: 0.68, specular: 0.22, roughness: 0.5, fresnel: 0.08 }, lightposition: { x: -60000, y: 90000, z: -80000 } };
      z.forEach((other, atom) => {
        if (other !== number) return;
        const start = mesh.x.length;
        for (const [x, y, w] of sphere.points) {
          mesh.x.push(xyz[3 * atom] + element.radius * x);
          mesh.y.push(xyz[3 * atom + 1] + element.radius * y);
          mesh.z.push(xyz[3 * atom + 2] + element.radius * w);
        }
        for (const [a, b, c] of sphere.faces) { mesh.i.push(start + a); mesh.j.push(start + b); mesh.k.push(start + c); }
      });
      traces.push(mesh);
    }
    traces.push(lines(pairsOf(bonds), xyz, isDark() ? "#7d8894" : "#9aa4af", 7));
    traces.push(lines(data.edges, corners, isDark() ? "#9aa4af" : "#656d76", 2.5));
    return traces;
  };
  const start = { eye: { x: -0.62, y: -1.5, z: 0.62 }, up: { x: 0, y: 0, z: 1 } };
  const layout = () => ({
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", showlegend: false, uirevision: String(current),
    scene: { aspectmode: "data", dragmode: "orbit", camera: { ...start, projection: { type: "orthographic" } },
      xaxis: { visible: false }, yaxis: { visible: false }, zaxis: { visible: false } },
  });
  const hasWebGL = (() => { try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; } })();
  const view = document.getElementById("view");
  const show = (place) => {
    current = place;
    const item = structures[place];
    one("#viewer-title").innerHTML = one("h3", cards[place]).innerHTML;
    const facts = document.getElementById("facts");
    facts.replaceChildren(...item.facts.map(([name, value]) => {
      const row = document.createElement("div"), term = document.createElement("dt"), detail = document.createElement("dd");
      term.textContent = name; detail.textContent = value; row.append(term, detail);
      return row;
    }));
    const keys = document.getElementById("keys");
    keys.replaceChildren(...(item.scene ? [...new Set(item.scene.z)] : []).map((number) => {
      const entry = document.createElement("span"), dot = document.createElement("span");
      dot.className = "key"; dot.style.setProperty("--key", data.elements[number].colour);
      entry.append(dot, data.elements[number].symbol);
      return entry;
    }));
    const link = document.getElementById("cif");
    link.hidden = document.getElementById("copy").hidden = !item.cif;
    if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
    if (item.cif) { link.href = addressOf(item); link.download = item.file; }
    if (!viewer.open) viewer.showModal();
    if (item.scene && hasWebGL) library().react(view, solid(item.scene), layout(), { displayModeBar: false, responsive: true });
    else {
      const still = one("svg", cards[place]).cloneNode(true);
      still.classList.add("still");
      view.replaceChildren(still);
    }
  };
  const step = (by) => { const at = order.indexOf(current); if (order.length) show(order[(at + by + order.length) % order.length]); };
  cards.forEach((card, place) => one(".open", card).addEventListener("click", () => show(place)));
  document.getElementById("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => { library().purge(view); one(".open", cards[current]).focus(); });
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  const camera = (eye, up) => { if (view._fullLayout) Plotly.relayout(view, { "scene.camera": { eye, up, center: { x: 0, y: 0, z: 0 }, projection: { type: "orthographic" } } }); };
  const edge = (from, to) => [0, 1, 2].map((axis) => structures[current].scene.corners[3 * to + axis] - structures[current].scene.corners[3 * from + axis]);
  all("[data-view]").forEach((button) => button.addEventListener("click", () => {
    const [a, b, c] = [edge(0, 4), edge(0, 2), edge(0, 1)];
    const [along, up] = { a: [a, c], b: [b, c], c: [c, b] }[button.dataset.view];
    const far = 1.75 / Math.hypot(...along);
    camera({ x: along[0] * far, y: along[1] * far, z: along[2] * far }, { x: up[0], y: up[1], z: up[2] });
  }));
  all("[data-turn]").forEach((button) => button.addEventListener("click", () => {
    if (!view._fullLayout) return;
    const { eye, up } = view._fullLayout.scene._scene ? view._fullLayout.scene._scene.getCamera() : view._fullLayout.scene.camera;
    const size = Math.hypot(up.x, up.y, up.z), [x, y, z] = [up.x / size, up.y / size, up.z / size];
    const angle = (button.dataset.turn * Math.PI) / 12, [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const dot = (x * eye.x + y * eye.y + z * eye.z) * (1 - cos);
    camera({ x: eye.x * cos + (y * eye.z - z * eye.y) * sin + x * dot, y: eye.y * cos + (z * eye.x - x * eye.z) * sin + y * dot, z: eye.z * cos + (x * eye.y - y * eye.x) * sin + z * dot }, up);
  }));
})();
