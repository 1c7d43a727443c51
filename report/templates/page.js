"use strict";
// The grid: search, filter, sort, and a cell's details. All text goes in as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const text = (index) => data.texts[index];

  /** Makes an element; children are elements and strings. */
  const make = (name, attributes, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // ---- Cells. report/page_data.py says what stands where in the list.
  const unpack = (cell) => {
    const [status, word, mark, meaning] = data.statuses[cell[0]];
    const found = { status, word, mark, meaning, reason: text(cell[1]), runs: 0, level: "declared", depth: 0 };
    if (cell.length === 2) return found;
    const [, , depth, covered, failed, runs, known, set, outcomes, messages, parameters, gradient, classes, device] = cell;
    return Object.assign(found, {
      depth, covered, runs, parameters, gradient,
      level: data.levels[depth],
      failed: text(failed),
      known: known < 0 ? null : data.known[known],
      checks: data.sets[set].map((index, place) => {
        const [id, level, core] = data.checks[index];
        return { id: text(id), level, core, outcome: outcomes[place], message: place in messages ? text(messages[place]) : "" };
      }),
      classes: classes.map(text),
      device: data.devices[device],
    });
  };
  /** From worse to better: covered, then depth, then the order of the statuses. */
  const rank = (cell) => (cell.length > 2 ? 1000 * (1 + cell[3]) + 20 * cell[2] : 0) - cell[0];

  // ---- Rows.
  const columns = [
    { key: "name", label: "model", value: (model) => model.name },
    { key: "category", label: "category", value: (model) => data.categories.indexOf(model.category) },
    { key: "tier", label: "tier", value: (model) => data.tiers.indexOf(model.tier) },
    { key: "level", label: "deepest", value: (model) => -model.level },
    ...data.backends.map((backend, at) => ({ key: "on " + backend.name, label: backend.name, value: (model) => -rank(model.cells[at]), backend })),
  ];
  const ran = data.backends.map((backend, at) => data.models.some((model) => model.cells[at].length > 2));
  const dense = ran.filter(Boolean).length > 6; // then twelve columns fit beside each other
  const short = { reference: "ref", consistent: "cons", forward: "fwd", declared: "decl" };
  const makeRow = (model) => {
    const row = make("tr", { role: "row" });
    row.append(
      make("th", { scope: "row", role: "rowheader" }, model.name),
      make("td", { role: "gridcell", class: "quiet" }, model.category.replace("_", " ")),
      make("td", { role: "gridcell", class: "quiet" }, model.tier),
      make("td", { role: "gridcell" }, data.levels[model.level]),
    );
    model.cells.forEach((cell, backend) => {
      const [status, word, mark] = data.statuses[cell[0]];
      const level = cell.length > 2 ? data.levels[cell[2]] : "";
      const kind = data.backends[backend].counts ? `s-${status} l-${level || "declared"}` : "s-mock";
      const box = make("td", { role: "gridcell", tabindex: "-1", "data-cell": `${model.at} ${backend}`, class: kind, "aria-label": `${word} ${level}` });
      box.append(make("span", { class: "mark" }, mark), (dense && short[level]) || level);
      row.append(box);
    });
    return row;
  };
  const models = data.models.map((model, at) => ({ ...model, at }));

  /** What a search looks through: made when it is first needed. */
  const haystack = (model) => (model.words ??= [
    model.name, model.label, ...model.facts.map(([, value]) => value),
    ...new Set(model.cells.flatMap((cell) => (cell.length > 2 ? [text(cell[1]), text(cell[4])] : []))),
  ].join("\n").toLowerCase());

  // ---- State: what the controls say, kept in the address so that a view can be sent to somebody.
  const controls = ["q", "category", "tier", "backend", "status", "level"];
  let sort = { key: "", down: false };
  let active = null; // the cell that Tab reaches

  const fits = () => {
    const want = Object.fromEntries(controls.map((id) => [id, $(id).value]));
    const words = want.q.toLowerCase().split(/\s+/).filter(Boolean);
    const backend = data.backends.findIndex((item) => item.name === want.backend);
    const status = data.statuses.findIndex((item) => item[0] === want.status);
    const level = data.levels.indexOf(want.level);
    return (model) => {
      if ((want.category && model.category !== want.category) || (want.tier && model.tier !== want.tier)) return false;
      if (backend >= 0 || status >= 0 || level >= 0) {
        const cells = backend >= 0 ? [model.cells[backend]] : model.cells;
        const declared = (cell) => data.statuses[cell[0]][0] !== "not_declared";
        const hit = (cell) => (status < 0 ? declared(cell) : cell[0] === status) && (level < 0 || (cell.length > 2 ? cell[2] : 0) === level);
        if (!cells.some(hit)) return false;
      }
      return !words.length || words.every((word) => haystack(model).includes(word));
    };
  };

  // Rows come as they are scrolled to: laying out 650 x 12 cells at each letter of a search would take a second.
  const CHUNK = 80;
  let shown = [];
  const body = $("grid").tBodies[0];
  const more = () => {
    const from = body.rows.length;
    shown.slice(from, from + CHUNK).forEach((model, place) => {
      model.row ??= makeRow(model);
      model.row.setAttribute("aria-rowindex", from + place + 2);
      body.append(model.row);
    });
    return body.rows.length > from;
  };
  const near = () => $("scroller").scrollTop + 2 * $("scroller").clientHeight > $("scroller").scrollHeight;
  $("scroller").addEventListener("scroll", () => near() && more(), { passive: true });
  window.addEventListener("beforeprint", () => { while (more()); });

  const show = () => {
    shown = models.filter(fits());
    const column = columns.find((item) => item.key === sort.key);
    if (column) {
      shown.sort((one, other) => {
        const [a, b] = [column.value(one), column.value(other)];
        return (a < b ? -1 : a > b ? 1 : one.at - other.at) * (sort.down ? -1 : 1);
      });
    }
    body.replaceChildren();
    $("scroller").scrollTop = 0;
    while (more() && near());
    $("grid").setAttribute("aria-rowcount", shown.length + 1);
    $("shown").textContent = `${shown.length} of ${models.length} models`;
    $("nothing").hidden = shown.length > 0;
    if (!active?.isConnected) settle(body.querySelector("[data-cell]"));
  };

  const settle = (box) => {
    active?.setAttribute("tabindex", "-1");
    active = box || null;
    active?.setAttribute("tabindex", "0");
  };

  const header = make("tr", { role: "row" }, ...columns.map((column) => {
    const button = make("button", { type: "button" }, column.label);
    if (column.backend) button.title = `${column.backend.on}${column.backend.counts ? "" : "; counts for nothing"}${column.backend.absent ? `; absent: ${column.backend.absent}` : ""}`;
    button.addEventListener("click", () => {
      sort = { key: column.key, down: sort.key === column.key && !sort.down };
      mark();
      show();
      remember();
    });
    return make("th", { scope: "col", role: "columnheader", "data-key": column.key }, button);
  }));
  const mark = () => header.querySelectorAll("th").forEach((cell) => {
    if (cell.dataset.key === sort.key) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
  $("grid").tHead.append(header);
  // Widths that do not change while rows come and go.
  const width = (column, at) => {
    if (at < 4) return [16, 10, 6.5, 8][at];
    return ran[at - 4] ? (dense ? 5.9 : 9) : Math.min(column.label.length * 0.62 + 3.2, 5.9);
  };
  $("grid").prepend(make("colgroup", {}, ...columns.map((column, at) => {
    const part = make("col");
    part.style.width = `${width(column, at)}em`;
    return part;
  })));
  $("grid").style.width = `${columns.reduce((sum, column, at) => sum + width(column, at), 0)}em`;

  // ---- The address.
  const remember = (cell) => {
    const state = new URLSearchParams();
    for (const id of controls) if ($(id).value) state.set(id, $(id).value);
    if (sort.key) state.set("sort", (sort.down ? "-" : "") + sort.key);
    if (cell) state.set("cell", cell);
    history.replaceState(null, "", state.size ? `#${state}` : location.pathname + location.search);
  };
  const recall = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const id of controls) if (state.has(id) || !state.has("cell")) $(id).value = state.get(id) || "";
    const by = state.get("sort") || "";
    if (by || !state.has("cell")) sort = { key: by.replace(/^-/, ""), down: by.startsWith("-") };
    mark();
    show();
    const label = state.get("cell") || "";
    const place = label.lastIndexOf(":");
    const model = models.find((item) => item.label.slice(0, item.label.lastIndexOf(":")) === label.slice(0, place));
    const backend = data.backends.findIndex((item) => item.name === label.slice(place + 1));
    if (model && backend >= 0) open(model.at, backend);
  };

  // ---- A cell's details.
  const outcomes = { p: ["✓", "passed"], f: ["✕", "failed"], n: ["–", "not applicable"], r: ["·", "not run"] };
  const facts = (pairs) => make("dl", {}, ...pairs.filter(([, value]) => value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));

  /** A long name that may be broken where its words end. */
  const breakable = (name) => make("code", {}, ...name.split(/(?<=_|::)/).flatMap((part) => [part, make("wbr")]));

  const details = (model, at) => {
    const cell = unpack(model.cells[at]);
    const backend = data.backends[at];
    const label = `${model.label.slice(0, model.label.lastIndexOf(":"))}:${backend.name}`;
    const close = make("button", { type: "button", class: "close" }, "Close");
    close.addEventListener("click", () => $("cell").close());
    const parts = [
      make("h2", { id: "cell-title" }, `${model.name} `, make("span", { class: "note" }, `on ${backend.name}`)),
      close,
      make("p", { class: "verdict" }, make("span", { class: `mark s-${cell.status}`, "aria-hidden": "true" }, cell.mark),
        `${cell.word}, level ${cell.level}`, make("span", { class: "note" }, ` · ${backend.counts ? cell.meaning : "mock: no model ran, counts for nothing"}`)),
    ];
    if (cell.reason && !cell.known) parts.push(make("p", { class: `reason s-${cell.status}` }, cell.reason));
    if (cell.known) {
      const [match, reason, issue, link, expires, expired] = cell.known;
      parts.push(make("h3", {}, "Known failure"), facts([
        ["of", make("code", {}, text(match))],
        ["reason", text(reason)],
        ["where", link ? make("a", { href: link, rel: "noreferrer" }, text(issue)) : text(issue)],
        ["expires", make("span", expired ? { class: "problem" } : {}, `${expires}${expired ? " (EXPIRED)" : ""}`)],
      ]));
    }
    parts.push(make("h3", {}, "Model"), facts([
      ...model.facts,
      ["tier", model.tier],
      ...(cell.runs ? [["size", `${cell.parameters.toLocaleString("en")} parameters, a gradient reaches ${(100 * cell.gradient).toFixed(1)} %`]] : []),
      ...(cell.runs ? [["device", cell.device.join(", ")], ["runs", `${cell.runs}`]] : []),
      ["backend", backend.on],
      ["again", make("code", {}, `./bazelw test ${label}`)],
      ["declared in", model.build ? make("a", { href: model.build }, model.build) : ""],
      ["upstream", model.upstream ? make("a", { href: model.upstream, rel: "noreferrer" }, model.upstream.replace("https://github.com/", "")) : ""],
    ]));
    if (cell.runs) {
      const rows = cell.checks.map((check) => {
        const [sign, word] = outcomes[check.outcome];
        return make("tr", { class: `o-${check.outcome}` }, make("td", { title: word }, make("span", { "aria-hidden": "true" }, sign), make("span", { class: "hidden" }, word)),
          make("td", {}, breakable(check.id)), make("td", {}, check.level), make("td", {}, check.message));
      });
      const count = cell.checks.filter((check) => check.outcome === "p").length;
      parts.push(make("h3", {}, `Checks: ${count} of ${cell.checks.length} passed`), make("table", { id: "checks" },
        make("thead", {}, make("tr", {}, ...["", "check", "level", "message"].map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...rows)));
      if (cell.classes.length) parts.push(make("h3", {}, `Classes exercised: ${cell.classes.length}`), make("p", {}, cell.classes.join(", ")));
    }
    if (model.left.length) {
      parts.push(make("h3", {}, `Classes of the folder not exercised: ${model.left.length}`),
        make("ul", {}, ...model.left.map(([name, reason]) => make("li", {}, make("code", {}, name), reason ? `: ${reason}` : ""))));
    }
    return [parts, label];
  };

  const open = (at, backend) => {
    const [parts, label] = details(models[at], backend);
    $("cell").replaceChildren(...parts);
    if (!$("cell").open) $("cell").showModal();
    $("cell").scrollTop = 0;
    remember(label);
  };
  $("cell").addEventListener("close", () => {
    remember();
    active?.focus();
  });
  $("cell").addEventListener("click", (event) => {
    if (event.target === $("cell")) $("cell").close(); // on the backdrop
  });

  // ---- Mouse and keyboard.
  const openBox = (box) => {
    settle(box);
    open(...box.dataset.cell.split(" ").map(Number));
  };
  $("grid").addEventListener("click", (event) => {
    const box = event.target.closest("[data-cell]");
    if (box) openBox(box);
  });
  const steps = {
    ArrowLeft: (box) => box.previousElementSibling,
    ArrowRight: (box) => box.nextElementSibling,
    ArrowUp: (box) => box.parentElement.previousElementSibling?.children[box.cellIndex],
    ArrowDown: (box) => (box.parentElement.nextElementSibling || (more() && box.parentElement.nextElementSibling))?.children[box.cellIndex],
    Home: (box) => box.parentElement.querySelector("[data-cell]"),
    End: (box) => box.parentElement.lastElementChild,
  };
  $("grid").addEventListener("keydown", (event) => {
    const box = event.target.closest("[data-cell]");
    if (!box || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") openBox(box);
    else if (steps[event.key]) {
      const next = steps[event.key](box);
      if (next?.dataset.cell) {
        settle(next);
        next.focus();
      }
    } else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !$("cell").open && !event.target.closest("input, select")) {
      event.preventDefault();
      $("q").focus();
    }
  });

  const filters = $("filters");
  const changed = () => {
    show();
    remember();
  };
  filters.addEventListener("input", changed);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(changed));
  $("clear").addEventListener("click", () => filters.reset());
  window.addEventListener("hashchange", recall);

  // ---- Colours.
  const themes = ["system", "light", "dark"];
  const paint = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Colours: ${theme}`;
    $("theme").setAttribute("aria-label", `Colours: ${theme}; press to change`);
  };
  const stored = () => {
    try {
      return localStorage.getItem("modelgrid-theme");
    } catch {
      return null; // a browser may keep nothing for files
    }
  };
  let theme = themes.includes(stored()) ? stored() : "system";
  paint(theme);
  $("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    paint(theme);
    try {
      localStorage.setItem("modelgrid-theme", theme);
    } catch {
      // It holds until the page is closed.
    }
  });

  recall();
  document.documentElement.dataset.ready = "true";
})();
